"""Largest expert first, to the GPU that would finish it first."""

import numpy as np

from gemopt.jit import kernel


@kernel
def falling_order(values: np.ndarray) -> np.ndarray:
    """Order of `values` from the largest on, equal ones as they come.

    By insertion: a few hundred experts need no more, and numba's sorts take longer to
    compile than all of this file.
    """
    order = np.empty(values.shape[0], dtype=np.int64)
    for i in range(values.shape[0]):
        k = i
        while k > 0 and values[order[k - 1]] < values[i]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
    return order


@kernel
def clear(held: np.ndarray) -> None:
    """Take every expert off every GPU."""
    for e in range(held.shape[0]):
        for g in range(held.shape[1]):
            held[e, g] = False


@kernel
def greedy_into(
    mean: np.ndarray,  # [experts] mean load of one copy
    copies: np.ndarray,  # [experts]
    base: np.ndarray,  # [gpus] us
    scale: np.ndarray,  # [gpus] us per unit of load
    first: np.ndarray,  # [gpus + 1]
    phy2log: np.ndarray,  # [slots], written
    held: np.ndarray,  # [experts, gpus] bool, written
) -> None:
    """Fill all slots; no GPU gets an expert twice."""
    experts, gpus = held.shape
    order = falling_order(mean)
    used = np.zeros(gpus, dtype=np.int64)
    finish = np.empty(gpus)
    clear(held)
    for g in range(gpus):
        finish[g] = base[g]
    for i in range(experts):
        e = order[i]
        for _ in range(copies[e]):
            best, soonest = -1, np.inf
            for g in range(gpus):
                if first[g] + used[g] == first[g + 1] or held[e, g]:
                    continue
                end = finish[g] + scale[g] * mean[e]
                if end < soonest:
                    best, soonest = g, end
            if best < 0:
                if not _make_room(e, first, used, phy2log, held):
                    fullest_first_into(copies, first, phy2log, held)
                    return
                continue
            _give(e, best, first, used, phy2log, held)
            finish[best] += scale[best] * mean[e]


@kernel
def _give(
    expert: int, gpu: int, first: np.ndarray, used: np.ndarray,
    phy2log: np.ndarray, held: np.ndarray,
) -> None:  # fmt: skip
    phy2log[first[gpu] + used[gpu]] = expert
    held[expert, gpu] = True
    used[gpu] += 1


@kernel
def _make_room(
    expert: int, first: np.ndarray, used: np.ndarray,
    phy2log: np.ndarray, held: np.ndarray,
) -> bool:  # fmt: skip
    """Every GPU with a free slot holds `expert`: move another expert there."""
    gpus = used.shape[0]
    for free in range(gpus):
        if first[free] + used[free] == first[free + 1]:
            continue
        for g in range(gpus):
            if held[expert, g]:
                continue
            for s in range(first[g], first[g] + used[g]):
                moved = phy2log[s]
                if held[moved, free]:
                    continue
                _give(moved, free, first, used, phy2log, held)
                held[moved, g] = False
                phy2log[s] = expert
                held[expert, g] = True
                return True
    return False


@kernel
def fullest_first_into(
    copies: np.ndarray, first: np.ndarray, phy2log: np.ndarray, held: np.ndarray
) -> None:
    """Place by numbers of copies alone; always works where copies fit at all.

    Experts with most copies first, each to the GPUs with most free slots.
    """
    experts, gpus = held.shape
    used = np.zeros(gpus, dtype=np.int64)
    clear(held)
    order = falling_order(copies.astype(np.float64))
    for i in range(experts):
        e = order[i]
        for _ in range(copies[e]):
            best, most = -1, 0
            for g in range(gpus):
                free = first[g + 1] - first[g] - used[g]
                if free > most and not held[e, g]:
                    best, most = g, free
            _give(e, best, first, used, phy2log, held)
