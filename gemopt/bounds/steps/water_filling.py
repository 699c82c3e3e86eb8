"""Bound A: each step's work flows freely to the GPUs that finish first."""

import numpy as np
from numpy.typing import NDArray

from gemopt.model.instance import Instance
from gemopt.model.placement import SHARE_UNIT

Floats = NDArray[np.float64]


def water_filling(instance: Instance) -> Floats:
    """Bound the slowest GPU of every step, us ``[layers, steps]``.

    Valid for every latency family, with and without replicas, and for any slots.
    Within z us GPU g can take c_g(z) tokens, the largest number whose latency is at
    most z, dips included; z is too small while the capacities sum to less than the
    step's tokens. For latencies in active experts, tiles and tokens a second bound
    counts: whatever weights l_g >= 0 with sum 1, the slowest GPU needs at least
    ``sum_g l_g base_g + sum_i total_i * min_g(l_g coefficient_gi)``
    (a split expert is active, and fills its tiles, at least once).
    Every GPU pays at least its lowest latency.
    """
    from gemopt.bounds.steps.capacity import compile_capacities
    from gemopt.bounds.steps.kernels import water_fill_into

    classes = instance.classes
    replicas = instance.num_slots > instance.num_experts
    out = np.empty(instance.step_tokens.shape)
    water_fill_into(
        classes.tables,
        compile_capacities(classes.models),
        classes.members,
        instance.loads,
        instance.step_tokens,
        instance.num_slots / SHARE_UNIT if replicas else 0.0,
        not replicas,
        out,
    )
    return out


def water_filling_bound(instance: Instance) -> float:
    """Lower bound on the objective, in us; see `water_filling`."""
    return float((water_filling(instance) @ instance.weights).sum())
