"""Independent feasibility check. Shares no code with the solvers."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement

_SHOWN = 8


class Infeasible(ValueError):
    """A placement breaks a rule of its instance."""


def violations(instance: Instance, placement: Placement) -> list[str]:
    """Return every broken rule as one line; an empty list means feasible.

    Rules: as many layers, GPUs and slots per GPU as the instance; every id is an
    expert; every expert has a replica in each layer; no GPU holds an expert twice.
    """
    if not np.array_equal(placement.slots, instance.slots):
        return [
            f"slots = {placement.slots.tolist()}, the instance has "
            f"{instance.slots.tolist()}"
        ]
    if placement.num_layers != instance.num_layers:
        return [
            f"phy2log has {placement.num_layers} layers, the instance has "
            f"{instance.num_layers}"
        ]
    experts = instance.num_experts
    phy2log = placement.phy2log
    outside = (phy2log < 0) | (phy2log >= experts)
    if outside.any():
        return [
            f"phy2log[{i}, {j}] = {phy2log[i, j]} is no expert (0..{experts - 1})"
            for i, j in np.argwhere(outside)[:_SHOWN]
        ]
    held = np.zeros((instance.num_layers, instance.num_gpus, experts), dtype=np.int64)
    first = 0
    for g, count in enumerate(placement.slots):
        part = phy2log[:, first : first + count]
        np.add.at(held[:, g], (np.arange(len(part))[:, None], part), 1)
        first += count
    missing = [
        f"layer {i}: expert {e} has no slot"
        for i, e in np.argwhere(held.sum(axis=1) == 0)
    ]
    twice = [
        f"layer {i}: GPU {g} holds expert {e} {held[i, g, e]} times"
        for i, g, e in np.argwhere(held > 1)
    ]
    return missing + twice


def second_copies(phy2log: Ints, slots: Ints) -> NDArray[np.bool_]:
    """Tell which slots hold an expert that a lower slot of their GPU holds: wasted.

    Slots that are negative hold nothing.

    Parameters
    ----------
    phy2log
        Expert of each slot, int64 ``[layers, slots]``.
    slots
        Slots of each GPU, int64 ``[gpus]``.

    Returns
    -------
    numpy.ndarray
        bool ``[layers, slots]``.
    """
    result = np.zeros(phy2log.shape, dtype=np.bool_)
    first = 0
    for count in slots.tolist():
        held = phy2log[:, first : first + count]
        order = np.argsort(held, axis=1, kind="stable")
        ordered = np.take_along_axis(held, order, axis=1)
        again = np.zeros(held.shape, dtype=np.bool_)
        again[:, 1:] = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        np.put_along_axis(result[:, first : first + count], order, again, axis=1)
        first += count
    return result


def require_feasible(instance: Instance, placement: Placement) -> None:
    """Raise `Infeasible` naming the first broken rules, if any is broken."""
    broken = violations(instance, placement)
    if broken:
        more = f" (and {len(broken) - _SHOWN} more)" if len(broken) > _SHOWN else ""
        raise Infeasible("; ".join(broken[:_SHOWN]) + more)
