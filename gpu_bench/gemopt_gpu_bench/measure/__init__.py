"""Timing one load on one device."""
