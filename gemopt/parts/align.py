"""Lay a new placement over an old one so that few slots change."""

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints

NO_EXPERT = -1  #: in an old placement: a slot that holds nothing yet
_PADDING = -2  #: fills up GPUs that have fewer slots than others


def align(
    old: ArrayLike, new: ArrayLike, slots: ArrayLike, *, groups: ArrayLike | None = None
) -> Ints:
    """Reorder `new` without changing what it costs, to be as near `old` as possible.

    An expert that stays on a GPU keeps its slot. GPUs of one group exchange all they
    hold where that keeps more experts in place; the matching is optimal.

    Parameters
    ----------
    old, new
        Expert of each slot ``[layers, slots]``; entries of `old` may be -1.
    slots
        Slots of each GPU ``[gpus]``.
    groups
        Number for each GPU ``[gpus]``; GPUs with the same number and as many slots are
        alike (equal latency, same host). None means no two GPUs are alike.

    Returns
    -------
    numpy.ndarray
        int64 ``[layers, slots]``.

    Raises
    ------
    ValueError
        The shapes of `old` and `new` differ, or do not fit `slots`.
    """
    before, after = np.array(old, dtype=np.int64), np.array(new, dtype=np.int64)
    per_gpu = np.array(slots, dtype=np.int64)
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(f"old has shape {before.shape}, new {after.shape}; both 2-d")
    if per_gpu.sum() != before.shape[1]:
        raise ValueError(
            f"slots sums to {per_gpu.sum()}, the placements have {before.shape[1]}"
        )
    held = _by_gpu(before, per_gpu, NO_EXPERT)
    gets = _by_gpu(after, per_gpu, _PADDING)
    for gpus in _alike(per_gpu, groups):
        for layer in range(len(held)):
            take = _match(held[layer, gpus], gets[layer, gpus])
            gets[layer, gpus] = gets[layer, gpus[take]]
    placed = _in_place(held, gets)
    return placed[gets != _PADDING].reshape(after.shape)


def _by_gpu(phy2log: Ints, slots: Ints, padding: int) -> Ints:
    """Slots of each GPU, int64 ``[layers, gpus, most slots]``, padded at the end."""
    place = np.arange(int(slots.max(initial=0))) < slots[:, None]
    rows = np.full((len(phy2log), *place.shape), padding, dtype=np.int64)
    rows[:, place] = phy2log
    return rows


def _alike(slots: Ints, groups: ArrayLike | None) -> list[Ints]:
    """Sets of more than one GPU that may exchange all they hold."""
    if groups is None:
        return []
    keys = np.stack([np.array(groups, dtype=np.int64), slots])
    _, number = np.unique(keys, axis=1, return_inverse=True)
    sets = [np.flatnonzero(number == k) for k in range(int(number.max()) + 1)]
    return [gpus for gpus in sets if len(gpus) > 1]


def _match(held: Ints, gets: Ints) -> Ints:
    """Which of the new sets each GPU takes so that most experts stay, ``[gpus]``."""
    from scipy.optimize import linear_sum_assignment

    experts = int(max(held.max(), gets.max())) + 1
    marks = []
    for rows in (held, gets):
        mark = np.zeros((len(rows), experts + 1), dtype=np.float32)
        mark[np.arange(len(rows))[:, None], np.where(rows < 0, experts, rows)] = 1.0
        marks.append(mark[:, :experts])
    return np.asarray(linear_sum_assignment(marks[0] @ marks[1].T, maximize=True)[1])


def _in_place(old: Ints, new: Ints) -> Ints:
    """Order the experts of each GPU so that those that stay keep their slots.

    An expert that a GPU holds twice stays in its first slots; incoming experts fill
    what is free in the order of `new`.
    """
    result = np.full_like(new, NO_EXPERT)
    free, unused = new != _PADDING, new != _PADDING
    for slot in range(new.shape[2]):
        match = unused & (new == old[:, :, slot, None])
        first = match.argmax(axis=2)[:, :, None]
        found = match.any(axis=2)
        result[found, slot] = old[found, slot]
        free[found, slot] = False
        left = np.take_along_axis(unused, first, axis=2) & ~found[:, :, None]
        np.put_along_axis(unused, first, left, axis=2)
    result[free] = new[unused]  # as many on each GPU, in the same order of GPUs
    return result
