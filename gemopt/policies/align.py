"""Name ranks that are alike so that they keep what they hold."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from gemopt.arrays import Ints


def aligned(new: Ints, old: Ints, gpu2class: Ints, node: Ints) -> Ints:
    """Exchange the contents of equal ranks of a host so that least moves.

    Parameters
    ----------
    new, old
        Expert of each slot, int64 ``[layers, slots]``.
    gpu2class
        Latency class of each rank, int64 ``[ranks]``; only ranks of one class are
        exchanged, which changes no cost.
    node
        Host of each rank, int64 ``[ranks]``.

    Returns
    -------
    numpy.ndarray
        int64 ``[layers, slots]``.
    """
    layers, ranks = len(new), len(gpu2class)
    after, before = new.reshape(layers, ranks, -1), old.reshape(layers, ranks, -1)
    result = after.copy()
    kinds = np.unique(np.stack([gpu2class, node]), axis=1).T
    alike = [np.flatnonzero((gpu2class == c) & (node == n)) for c, n in kinds]
    experts = int(max(new.max(), old.max())) + 1
    for layer in range(layers):
        had = _held(before[layer], experts)
        gets = _held(after[layer], experts)
        shared = had @ gets.T
        for group in alike:
            if len(group) > 1:
                _, take = linear_sum_assignment(
                    shared[np.ix_(group, group)], maximize=True
                )
                result[layer, group] = after[layer, group[take]]
    return result.reshape(layers, -1)


def _held(rows: Ints, experts: int) -> np.ndarray:
    """Which rank holds which expert, float32 ``[ranks, experts]``."""
    held = np.zeros((len(rows), experts), dtype=np.float32)
    held[np.arange(len(rows))[:, None], rows] = 1.0
    return held
