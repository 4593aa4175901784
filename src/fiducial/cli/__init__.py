"""The command line: one file a noun, each importing its subject inside the command."""
