"""Data: files and mixtures as numbered rows, rows as prompts, messages and images as token ids."""
