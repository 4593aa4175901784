"""Slurm: what is asked of ``sbatch``, what ``squeue`` and ``sacct`` answer, and what their codes mean."""
