"""Deal clusters of experts that burst together over different GPUs."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints

Floats = NDArray[np.float64]


def deal(
    labels: Ints,
    copies: Ints,
    load: Floats,
    capacity: Ints,
    base: Floats,
    slope: Floats,
) -> list[list[int]]:
    """Give every expert to GPUs so that members of a cluster sit apart.

    Clusters go by falling load, their members too; each copy takes the GPU with a free
    slot that holds fewest members of its cluster, no copy of the expert if possible,
    and that would finish first.

    Parameters
    ----------
    labels
        Cluster of each expert, int64 ``[experts]``.
    copies
        Copies of each expert, int64 ``[experts]``.
    load
        Load of one copy, float64 ``[experts]``.
    capacity
        Slots of each GPU, int64 ``[gpus]``.
    base, slope
        Finishing line of each GPU: us, and us per token ``[gpus]``.

    Returns
    -------
    list of list of int
        Experts of each GPU, as many as its slots.
    """
    gpus = len(capacity)
    held: list[list[int]] = [[] for _ in range(gpus)]
    free = capacity.copy()
    tokens = np.zeros(gpus)
    members = np.zeros((labels.max(initial=0) + 1, gpus), dtype=np.int64)
    total = np.bincount(labels, weights=load * copies)
    for label in np.argsort(-total, kind="stable"):
        inside = np.flatnonzero(labels == label)
        for expert in inside[np.argsort(-load[inside], kind="stable")]:
            has = np.zeros(gpus, dtype=np.int64)
            for _ in range(copies[expert]):
                finish = base + slope * (tokens + load[expert])
                order = np.lexsort((finish, members[label], has, free == 0))
                gpu = int(order[0])
                held[gpu].append(int(expert))
                free[gpu] -= 1
                tokens[gpu] += load[expert]
                members[label, gpu] += 1
                has[gpu] += 1
    return held
