"""How a command line is read: help that imports nothing heavy, configurations by name, mistakes in one paragraph."""
