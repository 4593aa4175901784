"""The Millepede fit: from steering and records to values, errors and output files."""
