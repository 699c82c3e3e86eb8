"""What a placement costs: the objective, and what a change of it would cost."""
