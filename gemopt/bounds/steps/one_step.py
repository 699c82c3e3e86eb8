"""The best bound of each step alone."""

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
    raised = assignment(instance, layer, bound) if assign else bound
    if raised @ instance.weights > bound @ instance.weights:
        bound, kind = raised, "assignment"
    if instance.num_slots == instance.num_experts:
        raised = count_heavy(minorant(instance, layer), bound)
        if raised @ instance.weights > bound @ instance.weights:
            bound, kind = raised, "counting"
    return bound, kind
