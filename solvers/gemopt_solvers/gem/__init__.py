"""The GEM paper's heuristic as we understand it."""

from gemopt_solvers.gem.solver import Gem as Gem
from gemopt_solvers.gem.solver import GemParams as GemParams

__all__ = ["Gem", "GemParams"]
