"""A run's folder: append-only files, folders that are complete or absent, the finished mark."""
