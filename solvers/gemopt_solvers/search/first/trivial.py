"""Instances on which every placement costs the same."""

import numpy as np

from gemopt.model.instance import Instance
from gemopt_solvers.search.state.additive_terms import line_of


def nothing_to_gain(instance: Instance) -> str | None:
    """Return why all placements cost the same, or None if they may differ."""
    if instance.comm is not None:
        return None
    if instance.num_gpus == 1:
        return "one GPU"
    lines = [line_of(instance.tables, r) for r in range(len(instance.tables.kind))]
    if all(line is not None and not any(line[1:4]) for line in lines):
        return "latency does not depend on the load"
    if not instance.loads.any():
        return "no tokens"
    equal = not instance.gpu2class.any()
    one_each = (
        instance.slots == 1
    ).all() and instance.num_slots == instance.num_experts
    if equal and one_each:
        return "one expert on each of equal GPUs"
    if (instance.slots == instance.num_experts).all():
        return "every GPU holds every expert"
    if instance.num_experts == 1 and np.count_nonzero(instance.slots) == len(
        instance.slots
    ):
        return "one expert"
    return None
