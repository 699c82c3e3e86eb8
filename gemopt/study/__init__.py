"""Comparing solvers and placements: runs, tables, curves, graphs."""
