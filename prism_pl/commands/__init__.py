"""The command line's commands: a catalogue that imports nothing heavy, and one module for each command."""
