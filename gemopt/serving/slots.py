"""Rows of slots of equal ranks: what must be moved, and the inverse maps."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints


def incoming(new: Ints, old: Ints, ranks: int) -> NDArray[np.bool_]:
    """Tell which slots hold an expert that their rank did not hold before.

    Returns
    -------
    numpy.ndarray
        bool ``[layers, slots]``.
    """
    layers, slots = new.shape
    after = new.reshape(layers, ranks, -1)
    before = old.reshape(layers, ranks, -1)
    known = (after[..., :, None] == before[..., None, :]).any(axis=-1)
    return ~known.reshape(layers, slots)


def within_budget(gain: NDArray[np.float64], moves: Ints, budget: int) -> Ints:
    """Choose the layers that change: most gain per move first, up to the budget.

    Parameters
    ----------
    gain
        Predicted gain of each layer in us, float64 ``[layers]``.
    moves
        Slots of each layer that take an expert new to their rank, int64 ``[layers]``.
    budget
        Moves of all layers together.

    Returns
    -------
    numpy.ndarray
        Indices of layers with a gain, sorted; ties go to the lower layer.
    """
    worth = gain / np.maximum(moves, 1)
    left, chosen = budget, []
    for layer in np.argsort(-worth, kind="stable").tolist():
        if gain[layer] > 0 and moves[layer] <= left:
            left -= int(moves[layer])
            chosen.append(layer)
    return np.array(sorted(chosen), dtype=np.int64)


def log2phy_of(phy2log: Ints, experts: int, width: int | None = None) -> Ints:
    """Slots of each expert by rising slot, -1 where there are no more.

    Parameters
    ----------
    phy2log
        Expert of each slot, int64 ``[layers, slots]``.
    experts
        Logical experts.
    width
        Size of the last axis; None means the most copies of any expert.

    Returns
    -------
    numpy.ndarray
        int64 ``[layers, experts, width]``.
    """
    layers, slots = phy2log.shape
    order = np.argsort(phy2log, axis=1, kind="stable")
    ordered = np.take_along_axis(phy2log, order, axis=1)
    copies = copies_of(phy2log, experts)
    start = np.cumsum(copies, axis=1) - copies
    rank = np.arange(slots) - np.take_along_axis(start, ordered, axis=1)
    size = int(copies.max()) if width is None else width
    log2phy = np.full((layers, experts, size), -1, dtype=np.int64)
    log2phy[np.arange(layers)[:, None], ordered, rank] = order
    return log2phy


def copies_of(phy2log: Ints, experts: int) -> Ints:
    """Copies of each expert, int64 ``[layers, experts]``."""
    copies = np.zeros((len(phy2log), experts), dtype=np.int64)
    np.add.at(copies, (np.arange(len(phy2log))[:, None], phy2log), 1)
    return copies
