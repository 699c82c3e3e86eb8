"""Runs of solvers: the registry, stop criteria, results, and tools to write solvers.

Whoever writes a solver needs only the names of this package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemopt.run.bases import BaseSolver as BaseSolver
    from gemopt.run.bases import OnePlacement as OnePlacement
    from gemopt.run.bases import Rounds as Rounds
    from gemopt.run.bases import offer_row as offer_row
    from gemopt.run.layers import BestRows as BestRows
    from gemopt.run.layers import layer_rng as layer_rng
    from gemopt.run.layers import run_rounds as run_rounds
    from gemopt.run.progress import Monitor as Monitor
    from gemopt.run.solver import NoParams as NoParams
    from gemopt.run.solver import Outcome as Outcome
    from gemopt.run.solver import Solver as Solver

_HOMES = {
    "BaseSolver": "bases",
    "BestRows": "layers",
    "Monitor": "progress",
    "NoParams": "solver",
    "OnePlacement": "bases",
    "Outcome": "solver",
    "Rounds": "bases",
    "Solver": "solver",
    "layer_rng": "layers",
    "offer_row": "bases",
    "run_rounds": "layers",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gemopt.run' has no attribute {name!r}")
    return getattr(import_module(f"gemopt.run.{_HOMES[name]}"), name)
