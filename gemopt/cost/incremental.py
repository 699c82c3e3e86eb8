"""What a change of a placement costs, without evaluating it anew."""

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.move_kernels import (
    State,
    apply_replace,
    apply_swap,
    fill_state,
    replace_objective,
    swap_objective,
)
from gemopt.cost.sum_kernels import weighted_sum
from gemopt.model.instance import Instance


class LayerState:
    """One layer of a placement under change; equals `gemopt.evaluate` to the last bit.

    Parameters
    ----------
    instance
        The instance.
    layer
        Row of the layer in the instance.
    phy2log
        Expert in each slot of the layer, int64 ``[slots]``; copied.
    """

    def __init__(self, instance: Instance, layer: int, phy2log: Ints) -> None:
        gpus, steps = instance.num_gpus, instance.num_steps
        self.tables = instance.tables
        self.state = State(
            loads=instance.loads[layer],
            weights=instance.weights,
            phy2log=np.array(phy2log, dtype=np.int64),
            slot2gpu=instance.slot2gpu,
            replicas=np.zeros(instance.num_experts, dtype=np.int64),
            shares=np.zeros(instance.loads[layer].shape),
            row=np.zeros((gpus, steps), dtype=np.int64),
            same_row=np.zeros(gpus, dtype=np.bool_),
            tile=np.zeros((gpus, steps)),
            tokens=np.zeros((gpus, steps)),
            active=np.zeros((gpus, steps)),
            tiles=np.zeros((gpus, steps)),
            latency=np.zeros((gpus, steps)),
            top=np.zeros((3, steps)),
            top_gpu=np.zeros((3, steps), dtype=np.int64),
            scratch=np.zeros((5, steps)),
        )
        fill_state(self.tables, self.state, instance.step_tokens[layer])

    @property
    def phy2log(self) -> Ints:
        """Expert in each slot now, int64 ``[slots]`` (a copy)."""
        return self.state.phy2log.copy()

    @property
    def objective(self) -> float:
        """Weighted sum over steps of the slowest GPU's latency, in us."""
        return weighted_sum(self.state.weights, self.state.top[0])

    def after_swap(self, slot_a: int, slot_b: int) -> float:
        """Objective in us if two slots exchanged their experts."""
        return swap_objective(self.tables, self.state, slot_a, slot_b)

    def after_replace(self, slot: int, expert: int) -> float:
        """Objective in us if `slot` took `expert`; its old expert loses a replica."""
        if self.state.replicas[self.state.phy2log[slot]] < 2:
            raise ValueError(f"slot {slot} holds the last replica of its expert")
        return replace_objective(self.tables, self.state, slot, expert)

    def swap(self, slot_a: int, slot_b: int) -> None:
        """Exchange the experts of two slots."""
        apply_swap(self.tables, self.state, slot_a, slot_b)

    def replace(self, slot: int, expert: int) -> None:
        """Give `slot` to `expert`; the loads of both experts are split anew."""
        if self.state.replicas[self.state.phy2log[slot]] < 2:
            raise ValueError(f"slot {slot} holds the last replica of its expert")
        apply_replace(self.tables, self.state, slot, expert)
