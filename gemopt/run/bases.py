"""Bases for solvers: what a solver file need not write again.

`Solver` is a protocol, so nothing has to derive from these. `OnePlacement` suits
methods that build one placement and end, `Rounds` those that work on the layers one by
one, in threads, until a stop criterion is met.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gemopt.cost.evaluate import evaluate, layer_cost
from gemopt.model.placement import Placement
from gemopt.run.layers import BestRows, Work, run_rounds
from gemopt.run.solver import NoParams, Outcome

if TYPE_CHECKING:
    from gemopt.arrays import Ints
    from gemopt.model.instance import Instance
    from gemopt.run.progress import Monitor


class BaseSolver:
    """Stores its options and takes every instance, until a method says otherwise."""

    name: ClassVar[str]
    summary: ClassVar[str]
    exact: ClassVar[bool] = False
    Params: ClassVar[type[Any]] = NoParams

    def __init__(self, params: Any) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """Return why the solver cannot take `instance`, or None if it can."""
        return None


class OnePlacement(BaseSolver):
    """A method that builds one placement, reports it and ends."""

    @abstractmethod
    def place(self, instance: Instance, seed: int) -> Outcome:
        """Return an outcome with a placement of all layers."""

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Build the one placement; nothing is searched."""
        outcome = self.place(instance, seed)
        if outcome.placement is not None:
            cost = evaluate(instance, outcome.placement).objective
            monitor.improved(cost, outcome.placement)
        return outcome


class Rounds(BaseSolver):
    """A method that works in rounds over the layers, each for itself."""

    rounds: ClassVar[int | None] = 1  #: rounds to its own end; None for no end

    @abstractmethod
    def work(self, instance: Instance, best: BestRows, seed: int) -> Work:
        """Return what does one round of one layer and offers its rows to `best`."""

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Work until the monitor says stop or all rounds are done."""
        best = BestRows(instance)
        work = self.work(instance, best, seed)
        reason = run_rounds(work, best, monitor=monitor, jobs=jobs, rounds=self.rounds)
        placement = None if np.isinf(best.objective).any() else best.placement
        return Outcome(placement, reason, iterations=monitor.iteration)


def offer_row(best: BestRows, instance: Instance, layer: int, row: Ints) -> None:
    """Evaluate a row of one layer, int64 ``[slots]``, and offer it to `best`."""
    best.offer(layer, row, layer_cost(instance, layer, row))
