"""Batch systems that are spoken to by commands: what is the same for all of them."""
