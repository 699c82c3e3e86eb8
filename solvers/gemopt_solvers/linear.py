"""The layout that engines start with: experts in order, GPU after GPU."""

from typing import ClassVar

import numpy as np

from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.bases import OnePlacement
from gemopt.run.solver import Outcome


class Linear(OnePlacement):
    """Experts 0..E-1 in slot order; further slots repeat experts in order."""

    name: ClassVar[str] = "linear"
    summary: ClassVar[str] = "experts in order, GPU after GPU (what engines start with)"

    def place(self, instance: Instance, seed: int) -> Outcome:
        """Take the experts in order."""
        row = linear_row(instance.num_experts, instance.slots)
        placement = Placement(np.tile(row, (instance.num_layers, 1)), instance.slots)
        return Outcome(placement)


def linear_row(num_experts: int, slots: np.ndarray) -> np.ndarray:
    """Expert of each slot, int64 ``[slots]``: in order, wrapping round.

    Consecutive ids modulo `num_experts` never put an expert on a GPU twice, as no GPU
    has more slots than there are experts.
    """
    return np.arange(int(slots.sum()), dtype=np.int64) % num_experts
