"""Whole campaigns for Slurm: job arrays that wait for each other, of which nobody of ours has to take care."""
