"""Profiles: what a GPU costs, measured and fitted."""
