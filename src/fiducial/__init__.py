"""Calibration, alignment and processing campaigns of physics experiments."""
