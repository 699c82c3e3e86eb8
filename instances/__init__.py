"""Saved instances, and the scripts that make and improve them."""
