"""Whole campaigns that a batch system is given at once: what of them is known before, and how they are followed."""
