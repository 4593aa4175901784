"""Systems of equations: constraints, and the methods that solve for the global parameters."""
