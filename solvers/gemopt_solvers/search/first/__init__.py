"""First placements: copies, greedy, quadratic exchanges."""
