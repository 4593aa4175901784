"""Who moves jobs: the scheduler decides, the agent carries."""
