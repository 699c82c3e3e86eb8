"""A run of a solver: the front door, the registry, stop criteria, results."""
