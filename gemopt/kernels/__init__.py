"""Compiled hot loops. Importing this package imports numba, so import it late."""
