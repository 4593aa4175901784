"""Mille binary files: read, write, inspect and convert them."""
