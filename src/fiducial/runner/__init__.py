"""What runs on the worker node."""
