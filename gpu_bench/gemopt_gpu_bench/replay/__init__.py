"""Placements run for real, beside what was predicted."""
