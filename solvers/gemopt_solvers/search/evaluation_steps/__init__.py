"""The steps on which placements are compared."""
