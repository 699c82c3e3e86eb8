"""Proven optima of small one-layer instances, by exhaustive search with pruning."""

from itertools import combinations
from math import comb

import numpy as np

from gemopt import Instance


def optimum(instance: Instance, incumbent: float) -> float:
    """Return the least objective in us, at most `incumbent`.

    Depth first over GPUs: each takes every set of experts that still have copies to
    place. A branch ends where the maxima of the GPUs filled so far already cost as
    much as the incumbent. All numbers of copies are tried.
    """
    best = incumbent
    experts, gpus = instance.num_experts, instance.num_gpus
    slots = instance.slots.tolist()
    sets = {k: np.array(list(combinations(range(experts), k))) for k in set(slots)}
    tokens = instance.loads[0].astype(np.float64)
    for copies in _copy_counts(experts, instance.num_slots, gpus):
        share = tokens / np.array(copies)[:, None]
        us = [
            instance.latency[g].us(
                share[sets[slots[g]]].transpose(0, 2, 1), instance.step_tokens[0]
            )
            for g in range(gpus)
        ]
        best = _deepen(
            0, np.array(copies), np.zeros(tokens.shape[1]), us,
            [sets[k] for k in slots], instance.weights, best,
        )  # fmt: skip
    return best


def _copy_counts(experts: int, slots: int, gpus: int) -> list[list[int]]:
    """All numbers of copies of each expert that sum to `slots`, each in 1..gpus."""
    rows: list[list[int]] = [[]]
    for e in range(experts):
        left = experts - e - 1
        rows = [
            [*row, c]
            for row in rows
            for c in range(1, gpus + 1)
            if left <= slots - sum(row) - c <= left * gpus
        ]
    return rows


def _deepen(
    gpu: int,
    left: np.ndarray,
    top: np.ndarray,
    us: list[np.ndarray],
    sets: list[np.ndarray],
    weights: np.ndarray,
    best: float,
) -> float:
    rest = len(us) - gpu - 1
    if rest == 0:  # what is left goes to the last GPU, if it may
        last = np.flatnonzero(left)
        if left.max() > 1 or len(last) != sets[gpu].shape[1]:
            return best
        i = _index_of(last, len(left))
        return min(best, float(weights @ np.maximum(top, us[gpu][i])))
    must = np.flatnonzero(left > rest)  # more copies left than other GPUs
    allowed = (left[sets[gpu]] > 0).all(axis=1)
    for e in must:
        allowed &= (sets[gpu] == e).any(axis=1)
    chosen = np.flatnonzero(allowed)
    tops = np.maximum(top, us[gpu][chosen])
    costs = tops @ weights
    for i in np.argsort(costs):
        if costs[i] >= best * (1 - 1e-9):
            break
        after = left.copy()
        after[sets[gpu][chosen[i]]] -= 1
        best = _deepen(gpu + 1, after, tops[i], us, sets, weights, best)
    return best


def _index_of(chosen: np.ndarray, experts: int) -> int:
    """Position of a rising set among all `combinations` of its size."""
    index, low = 0, 0
    for k, expert in enumerate(chosen):
        for skipped in range(low, expert):
            index += comb(experts - skipped - 1, len(chosen) - k - 1)
        low = expert + 1
    return index
