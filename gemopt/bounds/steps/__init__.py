"""Bounds that look at each step alone."""
