"""Branch and bound over numbers of copies (`bnb` with replicas)."""
