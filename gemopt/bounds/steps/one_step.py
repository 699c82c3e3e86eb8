"""The best bound of each step alone."""

import numpy as np

from gemopt.bounds.steps.assignment import assignment
from gemopt.bounds.steps.counting import count_heavy
from gemopt.bounds.steps.minorant import Floats, minorant
from gemopt.model.instance import Instance


def raised_steps(
    instance: Instance, layer: int, flow: Floats, *, assign: bool = True
) -> tuple[Floats, str]:
    """Raise the water-filling bound of each step of a layer, us ``[steps]``.

    `assign` False leaves the assignment bound out, which takes longest.

    Returns
    -------
    tuple
        The bounds and what raised their sum last: "water filling", "assignment" or
        "counting".
    """
    bound, kind = flow, "water filling"
    if not instance.splits_evenly:  # the others count whole experts or even shares
        return bound, kind
    raised = finite(assignment(instance, layer, bound), bound) if assign else bound
    if raised @ instance.weights > bound @ instance.weights:
        bound, kind = raised, "assignment"
    if instance.num_slots == instance.num_experts:
        raised = finite(count_heavy(minorant(instance, layer), bound), bound)
        if raised @ instance.weights > bound @ instance.weights:
            bound, kind = raised, "counting"
    return bound, kind


def finite(raised: Floats, bound: Floats) -> Floats:
    """Keep the old bound where raising it went beyond floating point."""
    return np.where(np.isfinite(raised), raised, bound)
