"""Closed trials: ideas that did not pay, kept because the documentation cites them."""
