"""What the methods of exact solving agree on: a problem, an answer, who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from gemopt.arrays import Floats, Ints
from gemopt.cost.evaluate import layer_cost
from gemopt.model.instance import Instance
from gemopt.run.progress import Heuristic, no_heuristic
from gemopt_solvers.exact.rows.model import Model

#: Units of a model are chosen for a known cost; below this part of it they are coarse.
COARSE = 0.5


@dataclass(frozen=True)
class ExactParams:
    """Options of the exact solvers that can limit moves.

    Parameters
    ----------
    max_moves
        With a start: most slots of a layer that may change; None for no limit.
    """

    max_moves: int | None = None

    def __post_init__(self) -> None:
        if self.max_moves is not None and self.max_moves < 0:
            raise ValueError(f"max_moves = {self.max_moves} must be >= 0")


@dataclass
class Answer:
    """What a back end found for one layer; the bound is on the model, in us."""

    bound: float
    phy2log: Ints | None


@dataclass
class Problem:
    """One layer to prove.

    Attributes
    ----------
    bound
        One-step lower bound, us ``[steps]``.
    known
        Objective of the best placement when the problem was posed, us.
    start
        Expert by slot from which `max_moves` counts.
    heuristic
        Finds good placements, for methods that a better one helps.
    """

    instance: Instance
    layer: int
    bound: Floats
    known: float
    max_moves: int | None = None
    start: Ints | None = None
    heuristic: Heuristic = no_heuristic

    @cached_property
    def model(self) -> Model:
        """The layer as rows, built when first asked for."""
        return Model(
            self.instance,
            self.layer,
            self.bound,
            self.known,
            self.max_moves,
            self.start,
        )

    def cost(self, phy2log: Ints) -> float:
        """True cost of a placement of the layer, expert by slot, us."""
        return layer_cost(self.instance, self.layer, phy2log)


class BackEnd(Protocol):
    """Solve a layer until it is proven, `seconds` are over or `stop` says so."""

    def __call__(
        self,
        problem: Problem,
        hint: Ints,
        *,
        seconds: float,
        jobs: int,
        seed: int,
        stop: Callable[[], bool],
    ) -> Answer: ...
