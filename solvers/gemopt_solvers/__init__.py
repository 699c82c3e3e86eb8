"""Search strategies, one a file. Use them by name through `gemopt.solve`."""
