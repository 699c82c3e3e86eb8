"""Per-token expert ids, from any source."""
