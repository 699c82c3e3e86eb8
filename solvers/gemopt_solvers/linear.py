"""The layout that engines start with: experts in order, GPU after GPU."""

from typing import ClassVar

import numpy as np

from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.progress import Monitor
from gemopt.run.solver import NoParams, Outcome


class Linear:
    """Experts 0..E-1 in slot order; further slots repeat experts in order."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "experts in order, GPU after GPU (what engines start with)"
    exact: ClassVar[bool] = False
    Params = NoParams

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """Every instance is supported."""
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
        """Build the one placement; nothing is searched."""
        row = linear_row(instance.num_experts, instance.slots)
        placement = Placement(np.tile(row, (instance.num_layers, 1)), instance.slots)
        monitor.improved(evaluate(instance, placement).objective, placement)
        return Outcome(placement)


def linear_row(num_experts: int, slots: np.ndarray) -> np.ndarray:
    """Expert of each slot, int64 ``[slots]``: in order, wrapping round.

    Consecutive ids modulo `num_experts` never put an expert on a GPU twice, as no GPU
    has more slots than there are experts.
    """
    return np.arange(int(slots.sum()), dtype=np.int64) % num_experts
