"""The default solver."""

from solvers.search.engine import place_counts as place_counts
from solvers.search.solver import Search as Search
from solvers.search.solver import SearchParams as SearchParams

__all__ = ["Search", "SearchParams", "place_counts"]
