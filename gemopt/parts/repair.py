"""Turn rows that break a rule into feasible ones with few changes."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.model.placement import slot_owner

EMPTY = -1  #: marks a slot without an expert


def repaired(phy2log: Ints, slots: Ints, weight: NDArray[np.float64]) -> Ints:
    """Make every row feasible: fill empty slots, remove second copies on a GPU.

    A second copy first changes places with the slot of another GPU whose load per copy
    is nearest, which keeps the number of copies; if no exchange is allowed, or if the
    expert has more copies than GPUs can hold, another expert takes the slot.

    Parameters
    ----------
    phy2log
        Expert of each slot, or `EMPTY`, int64 ``[layers, slots]``.
    slots
        Slots of each GPU, int64 ``[gpus]``, each at most the number of experts.
    weight
        Load of each expert, float64 ``[layers, experts]``.

    Returns
    -------
    numpy.ndarray
        A feasible copy, int64 ``[layers, slots]``; feasible rows stay as they are.
    """
    owner = slot_owner(slots)
    result = np.array(phy2log)
    for row, load in zip(result, weight, strict=True):
        for slot in _second_copies(row, owner, len(load)):
            if not _exchange(row, slot, owner, load):
                row[slot] = EMPTY
        _fill(row, owner, load)
    return result


def _second_copies(row: Ints, owner: Ints, experts: int) -> Ints:
    """Slots whose expert already has a lower slot on the same GPU."""
    taken = np.flatnonzero(row != EMPTY)
    key = owner[taken] * experts + row[taken]
    _, first = np.unique(key, return_index=True)
    return np.delete(taken, first)


def _exchange(row: Ints, slot: int, owner: Ints, load: NDArray[np.float64]) -> bool:
    """Exchange a second copy with the allowed slot of nearest share, if any."""
    expert, here = row[slot], owner[slot]
    lacks = np.ones(int(owner[-1]) + 1, dtype=np.bool_)
    lacks[owner[row == expert]] = False
    allowed = lacks[owner] & (row != EMPTY) & ~np.isin(row, row[owner == here])
    others = np.flatnonzero(allowed)
    if not len(others):
        return False
    share = load / np.maximum(np.bincount(row[row != EMPTY], minlength=len(load)), 1)
    nearest = others[np.abs(share[row[others]] - share[expert]).argmin()]
    row[slot], row[nearest] = row[nearest], expert
    return True


def _fill(row: Ints, owner: Ints, load: NDArray[np.float64]) -> None:
    """Fill empty slots: experts without a slot first, then the largest shares."""
    copies = np.bincount(row[row != EMPTY], minlength=len(load))
    for expert in np.argsort(-load, kind="stable").tolist():
        if copies[expert] == 0:
            slot = _slot_for_missing(row, copies, load)
            if row[slot] != EMPTY:
                copies[row[slot]] -= 1
            row[slot] = expert
            copies[expert] = 1
    for empty in np.flatnonzero(row == EMPTY).tolist():
        share = load / copies
        share[row[(owner == owner[empty]) & (row != EMPTY)]] = -1.0
        row[empty] = share.argmax()
        copies[row[empty]] += 1


def _slot_for_missing(row: Ints, copies: Ints, load: NDArray[np.float64]) -> int:
    """An empty slot, else the slot whose loss raises its expert's share least."""
    empty = np.flatnonzero(row == EMPTY)
    if len(empty):
        return int(empty[0])
    spare = copies > 1
    raised = np.where(spare, load / np.maximum(copies - 1, 1), np.inf)
    return int(np.flatnonzero(row == raised.argmin())[-1])
