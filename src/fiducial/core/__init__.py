"""What things are: workflows, jobs, states, resources. Pure: no files written, no processes, no database."""
