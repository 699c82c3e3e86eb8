"""A solver that counts every placement: proof for small instances."""

from typing import ClassVar

from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.progress import Monitor
from gemopt.run.solver import NoParams, Outcome
from gemopt.run.stop import StopReason
from tests.brute_force import best_placement


class BruteForce:
    """All placements, layer by layer, with the oracle of the tests."""

    name: ClassVar[str] = "brute-force"
    summary: ClassVar[str] = "counts every placement of a small instance"
    exact: ClassVar[bool] = True
    Params = NoParams

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """Every instance, given patience."""
        return None

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Count to the end; no stop criterion is looked at."""
        placement, _ = best_placement(instance)
        objective = evaluate(instance, placement).objective
        monitor.improved(objective, placement)
        return Outcome(placement, StopReason.PROVEN, lower_bound=objective)
