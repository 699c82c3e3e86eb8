"""Experts to groups of slots at least cost: capacities kept, loads priced."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PRICE_ROUNDS = 30
_PRICE_STEP = 0.5


def distances(affinity: Floats, labels: Ints, groups: int) -> Floats:
    """Cost of each expert in each group: minus its mean affinity to the members.

    Returns
    -------
    numpy.ndarray
        float64 ``[experts, groups]``, scaled to a spread of 1.
    """
    member = np.zeros((len(labels), groups))
    member[np.arange(len(labels)), labels] = 1.0
    others = np.maximum(member.sum(axis=0)[None, :] - member, 1.0)
    cost = -(affinity @ member) / others
    spread = cost.max() - cost.min()
    return np.asarray(cost / spread if spread > 0 else cost)


def capacitated(cost: Floats, copies: Ints, capacity: Ints) -> Ints:
    """Assign every copy of every expert to a group, groups filled to capacity.

    A minimum-cost flow from copies to groups, solved as an assignment with one column
    per slot. Copies of one expert may meet in a group.

    Parameters
    ----------
    cost
        float64 ``[experts, groups]``.
    copies
        Copies of each expert, int64 ``[experts]``, as many in all as slots.
    capacity
        Slots of each group, int64 ``[groups]``.

    Returns
    -------
    numpy.ndarray
        Group of each copy, in the order of ``repeat(arange(experts), copies)``.
    """
    slot2group = np.repeat(np.arange(len(capacity)), capacity)
    rows = np.repeat(np.arange(len(copies)), copies)
    copy, slot = linear_sum_assignment(cost[np.ix_(rows, slot2group)])
    groups = np.empty(len(rows), dtype=np.int64)
    groups[copy] = slot2group[slot]
    return groups


def balanced(
    cost: Floats, copies: Ints, capacity: Ints, load: Floats, wanted: Floats
) -> Ints:
    """`capacitated`, with prices on the load of each group.

    Groups that hold more than their `wanted` share of the load raise their price until
    the loads fit; the best-balanced assignment seen within 1 % of the wanted loads, or
    else the best-balanced one, wins.

    Parameters
    ----------
    load
        Load of one copy of each expert, float64 ``[experts]``.
    wanted
        Share of the load that each group should hold, summing to 1 ``[groups]``.
    """
    rows = np.repeat(np.arange(len(copies)), copies)
    part = load[rows] / max(load[rows].sum(), 1e-12)
    price = np.zeros(len(capacity))
    heavy = load / max(load.max(), 1e-12)
    best, best_excess = np.empty(0, dtype=np.int64), np.inf
    for turn in range(_PRICE_ROUNDS):
        groups = capacitated(cost + heavy[:, None] * price, copies, capacity)
        held = np.bincount(groups, weights=part, minlength=len(capacity))
        excess = held / wanted - 1.0
        if excess.max() < best_excess:
            best, best_excess = groups, float(excess.max())
        if best_excess < 0.01:
            break
        price += _PRICE_STEP / np.sqrt(turn + 1.0) * excess
    return best
