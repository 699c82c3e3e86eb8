"""Branch and bound on linear programs (`lpbb`)."""
