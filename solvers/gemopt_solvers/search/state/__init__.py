"""What the search of one layer reads and writes, and what it is filled from."""
