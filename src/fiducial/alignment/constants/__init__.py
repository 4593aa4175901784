"""Alignment constants and their files."""
