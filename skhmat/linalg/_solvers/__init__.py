"""Systems of equations with a hierarchical matrix, and their preconditioners."""
