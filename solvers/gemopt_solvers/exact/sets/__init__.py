"""Branch and bound over sets of experts (`bnb`)."""
