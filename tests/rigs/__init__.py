"""Every batch system under test, by what a person can do to its jobs by hand: a file each, with a list ``RIGS``."""
