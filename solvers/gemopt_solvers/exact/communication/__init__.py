"""Compute and communication together, by CP-SAT over whole sets of experts."""
