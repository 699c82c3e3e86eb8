"""A learned solver for gemopt: policy gradient over expert placements."""
