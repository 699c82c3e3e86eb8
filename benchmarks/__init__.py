"""The scripts behind every figure of the documentation: `python -m benchmarks.NAME`."""
