"""How many copies each expert gets when there are more slots than experts."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints


def replica_counts(weight: NDArray[np.float64], slots: Ints) -> Ints:
    """Give every next slot to the expert with the largest weight per copy.

    This is how EPLB counts, but only copies that distinct GPUs can hold are given: an
    expert has at most one copy on a GPU, so at most `gpus` copies, and fewer where
    slots are unequal.

    Parameters
    ----------
    weight
        Load of each expert, float64 >= 0 ``[layers, experts]``.
    slots
        Slots of each GPU, int64 ``[gpus]``; at least one per expert in all and at
        most one per expert on a GPU.

    Returns
    -------
    numpy.ndarray
        Copies of each expert, int64 ``[layers, experts]``; each layer sums to the
        slots. Ties go to the lower expert.
    """
    layers, experts = weight.shape
    levels = np.arange(len(slots) + 1)
    # Copies fit on distinct GPUs if and only if for every k those beyond the k-th copy
    # of an expert fit outside the k GPUs with most slots (Gale and Ryser).
    outside = np.cumsum(np.sort(slots)[::-1], dtype=np.int64)
    room = int(slots.sum()) - np.concatenate([[0], outside])
    beyond = np.zeros((layers, len(levels)), dtype=np.int64)
    beyond[:, 0] = experts
    copies = np.ones((layers, experts), dtype=np.int64)
    rows = np.arange(layers)
    for _ in range(int(slots.sum()) - experts):
        limit = (beyond >= room).argmax(axis=1)
        share = np.where(copies < limit[:, None], weight / copies, -1.0)
        chosen = share.argmax(axis=1)
        beyond += levels <= copies[rows, chosen][:, None]
        copies[rows, chosen] += 1
    return copies
