"""Changes of a placement on the true objective."""
