"""What the exact solvers have in common: a back end that proves one layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.progress import Monitor
from gemopt.run.solver import NoParams, Outcome
from gemopt_solvers.exact.rounds import BackEnd, solve_layers


class ExactSolver(ABC):
    """Prove layer after layer with one back end; subclasses name it.

    Optima are proven whatever `jobs`; of several equally good placements, threads may
    find another one first. Runs with a time limit are not repeatable to the byte:
    adapters of engines never use these solvers.
    """

    exact: ClassVar[bool] = True
    Params: ClassVar[type[Any]] = NoParams

    def __init__(self, params: Any) -> None:
        self.params = params

    @abstractmethod
    def back_end(self, instance: Instance) -> BackEnd:
        """What proves a layer of the instance."""

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Prove layer after layer until the monitor says stop."""
        return solve_layers(
            instance,
            self.back_end(instance),
            monitor=monitor,
            seed=seed,
            start=start,
            jobs=jobs,
            max_moves=getattr(self.params, "max_moves", None),
        )
