"""Bound C: who shares a GPU is a positive semidefinite matrix."""
