"""Devices of this machine, and processes that measure one each."""
