"""Which experts are busy together, and how far two halves of a trace agree on it."""

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel

TOGETHER = 0.6  #: correlation with a cluster's leader above which an expert joins it
WATCHED = 64  #: experts of largest variance whose covariances are compared


def clusters_of(share: Floats) -> tuple[Ints, int]:
    """Deal experts to clusters that are busy together.

    Experts are taken by falling variance; one joins the leader it correlates with most,
    if by more than `TOGETHER`, and leads a cluster of its own otherwise.

    Parameters
    ----------
    share
        Loads of experts over windows, float64 ``[experts, windows]``.

    Returns
    -------
    tuple
        Cluster of each expert, int64 ``[experts]``, and the number of clusters.
    """
    cluster = np.empty(len(share), dtype=np.int64)
    order = np.argsort(-share.var(axis=1), kind="stable")
    return cluster, clusters_into(share, order, cluster)


@kernel
def clusters_into(share: Floats, order: Ints, cluster: NDArray[np.int64]) -> int:
    """Write clusters of experts taken in this order; return how many there are."""
    experts, windows = share.shape
    leader = np.empty((windows, experts), dtype=np.float32)  # unit vectors
    unit = np.empty(windows)
    together = np.empty(experts, dtype=np.float32)
    count = 0
    for e in order:
        mean = share[e].sum() / windows
        square = 0.0
        for w in range(windows):
            unit[w] = share[e, w] - mean
            square += unit[w] * unit[w]
        scale = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        together[:count] = 0.0
        for w in range(windows):
            unit[w] *= scale
            factor = np.float32(unit[w])
            for k in range(count):
                together[k] += factor * leader[w, k]
        best, most = count, np.float32(TOGETHER)
        for k in range(count):
            if together[k] > most:
                best, most = k, together[k]
        if best == count:
            for w in range(windows):
                leader[w, count] = unit[w]
            count += 1
        cluster[e] = best
    return count


def repeated(share: Floats, cluster: Ints, shift: Ints) -> float:
    """Agreement of the halves of a trace about what coincides between clusters.

    Parameters
    ----------
    share
        Loads of experts over windows, float64 ``[experts, windows]``.
    cluster
        Cluster of each expert.
    shift
        Windows by which each cluster is shifted, int64 ``[draws, clusters]``.

    Returns
    -------
    float
        Correlation, over pairs of experts of different clusters, of the covariances
        in the two halves, each less the mean covariance after the shifts: near 0 if
        experts meet by chance.
    """
    watched = np.argsort(-share.var(axis=1), kind="stable")[:WATCHED]
    half = share.shape[1] // 2
    few = len(watched)
    one, two, chance = np.empty((few, few)), np.empty((few, few)), np.zeros((few, few))
    covariance_into(np.ascontiguousarray(share[watched, :half]), one)
    covariance_into(np.ascontiguousarray(share[watched, half:]), two)
    moved, drawn = np.empty_like(share), np.empty((few, few))
    for draw in shift:
        shifted_into(share, cluster, draw, moved)
        covariance_into(moved[watched], drawn)
        chance += drawn / len(shift)
    among = cluster[watched]
    return agreement(one, two, chance, among)


@kernel
def covariance_into(values: Floats, out: NDArray[np.float64]) -> None:
    """Write the covariances of rows, float64 ``[rows, rows]``."""
    rows, count = values.shape
    centred = np.empty((count, rows))
    for r in range(rows):
        mean = values[r].sum() / count
        for t in range(count):
            centred[t, r] = (values[r, t] - mean) / np.sqrt(count)
    out[:] = 0.0
    for t in range(count):
        for r in range(rows):
            factor = centred[t, r]
            for s in range(rows):
                out[r, s] += factor * centred[t, s]


@kernel
def shifted_into(
    share: Floats, cluster: Ints, shift: Ints, out: NDArray[np.float64]
) -> None:
    """Write shares after each cluster moved in time; every window sums to 1 again."""
    experts, windows = share.shape
    total = np.zeros(windows)
    for e in range(experts):
        later = shift[cluster[e]] % windows
        for w in range(later):
            out[e, w] = share[e, w + windows - later]
        for w in range(later, windows):
            out[e, w] = share[e, w - later]
        for w in range(windows):
            total[w] += out[e, w]
    for w in range(windows):
        total[w] = 1.0 / total[w] if total[w] > 0.0 else 0.0
    for e in range(experts):
        for w in range(windows):
            out[e, w] *= total[w]


@kernel
def agreement(one: Floats, two: Floats, chance: Floats, cluster: Ints) -> float:
    """Correlation of `one` and `two`, less `chance`, between clusters."""
    both, first, second = 0.0, 0.0, 0.0
    for r in range(cluster.shape[0]):
        for s in range(r):
            if cluster[r] == cluster[s]:
                continue
            a, b = one[r, s] - chance[r, s], two[r, s] - chance[r, s]
            both += a * b
            first += a * a
            second += b * b
    if first <= 0.0 or second <= 0.0:
        return 0.0
    return both / np.sqrt(first * second)
