"""Lay a new placement over an old one so that few slots change."""

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints

NO_EXPERT = -1  #: in an old placement: a slot that holds nothing yet


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
    first = np.concatenate([[0], np.cumsum(per_gpu)])
    alike = _alike(per_gpu, groups)
    return np.stack(
        [_aligned(a, b, first, alike) for a, b in zip(before, after, strict=True)]
    )


def _alike(slots: Ints, groups: ArrayLike | None) -> list[Ints]:
    """Sets of more than one GPU that may exchange all they hold."""
    if groups is None:
        return []
    keys = np.stack([np.array(groups, dtype=np.int64), slots])
    _, number = np.unique(keys, axis=1, return_inverse=True)
    sets = [np.flatnonzero(number == k) for k in range(int(number.max()) + 1)]
    return [gpus for gpus in sets if len(gpus) > 1]


def _aligned(old: Ints, new: Ints, first: Ints, alike: list[Ints]) -> Ints:
    parts = [new[first[g] : first[g + 1]] for g in range(len(first) - 1)]
    olds = [old[first[g] : first[g + 1]] for g in range(len(first) - 1)]
    for gpus in alike:
        from scipy.optimize import linear_sum_assignment

        size = int(max(old.max(), new.max())) + 1
        held = [np.zeros((len(gpus), size + 1)) for _ in range(2)]
        for i, g in enumerate(gpus):
            held[0][i, olds[g]] = 1.0  # -1 marks the spare last column
            held[1][i, parts[g]] = 1.0
        held[0][:, size] = 0.0
        _, match = linear_sum_assignment(held[0] @ held[1].T, maximize=True)
        moved = [parts[gpus[k]] for k in match]
        for g, part in zip(gpus, moved, strict=True):
            parts[g] = part
    return np.concatenate([_in_place(a, b) for a, b in zip(olds, parts, strict=True)])


def _in_place(old: Ints, new: Ints) -> Ints:
    """Order the experts of one GPU so that those that stay keep their slots."""
    result = np.full(len(new), NO_EXPERT, dtype=np.int64)
    left = new.tolist()
    for slot, expert in enumerate(old.tolist()):
        if expert in left:
            result[slot] = expert
            left.remove(expert)
    result[result == NO_EXPERT] = left
    return result
