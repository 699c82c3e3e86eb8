"""Proven lower bounds on the objective, cheap to strong."""

from gemopt.bounds.water_filling import water_filling_bound as quick_bound

__all__ = ["quick_bound"]
