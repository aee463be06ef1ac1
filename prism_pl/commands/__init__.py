"""The commands beside ``fit``, a module each."""
