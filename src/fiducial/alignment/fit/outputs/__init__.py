"""The files that a fit writes: one module for each, and `files` for all of them together."""
