"""The detector, tracks through it, and their files."""
