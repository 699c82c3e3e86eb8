"""Tables and curves from run files, in plain numpy."""

from gemopt.report.profiles import performance_profile, time_to_target
from gemopt.report.table import Line, render, shifted_geometric_mean, summary

__all__ = [
    "Line",
    "performance_profile",
    "render",
    "shifted_geometric_mean",
    "summary",
    "time_to_target",
]
