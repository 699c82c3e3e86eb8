"""The default solver."""

from gemopt_solvers.search.place_counts import place_counts as place_counts
from gemopt_solvers.search.solver import Search as Search
from gemopt_solvers.search.solver import SearchParams as SearchParams

__all__ = ["Search", "SearchParams", "place_counts"]
