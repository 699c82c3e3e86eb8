"""Searching near a given placement, within a budget of moves."""
