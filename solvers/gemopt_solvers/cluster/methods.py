"""Clusters of a weighted graph by four methods of scikit-learn and networkx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Takes affinity >= 0 ``[n, n]``, the number of clusters and a seed; returns the
#: cluster of each node, int64 ``[n]``. Sizes are free: `assign` makes them fit.
Method = Callable[[Floats, int, int], Ints]


def spectral(affinity: Floats, clusters: int, seed: int) -> Ints:
    """k-means on the smallest eigenvectors of the normalised graph Laplacian.

    References
    ----------
    Ng, Jordan and Weiss, On spectral clustering, 2001.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    degree = np.maximum(affinity.sum(axis=1), 1e-12)
    scale = 1.0 / np.sqrt(degree)
    _, vectors = np.linalg.eigh(affinity * np.outer(scale, scale))
    embedded = vectors[:, -clusters:]
    length = np.linalg.norm(embedded, axis=1, keepdims=True)
    embedded = embedded / np.maximum(length, 1e-12)
    # Few points: threads of OpenMP would only wait for each other on a busy machine.
    with threadpool_limits(1, user_api="openmp"):
        means = KMeans(clusters, n_init=10, random_state=seed).fit(embedded)
    return np.asarray(means.labels_, dtype=np.int64)


def agglomerative(affinity: Floats, clusters: int, seed: int) -> Ints:
    """Average-linkage merging of the pair of clusters with the largest affinity."""
    from sklearn.cluster import AgglomerativeClustering

    del seed  # nothing random
    distance = affinity.max() - affinity
    np.fill_diagonal(distance, 0.0)
    merging = AgglomerativeClustering(clusters, metric="precomputed", linkage="average")
    return np.asarray(merging.fit(distance).labels_, dtype=np.int64)


def louvain(affinity: Floats, clusters: int, seed: int) -> Ints:
    """Louvain communities; the smallest ones are merged, the largest split, to fit."""
    communities = nx.community.louvain_communities(_graph(affinity), seed=seed)
    parts = [sorted(part) for part in communities]
    while len(parts) > clusters:
        parts.sort(key=lambda part: (-len(part), part))
        last = parts.pop()
        gain = [affinity[np.ix_(part, last)].mean() for part in parts]
        parts[int(np.argmax(gain))] += last
    while len(parts) < clusters:
        parts.sort(key=lambda part: (len(part), part))
        part = parts.pop()
        parts += _halved(affinity, part, len(part) // 2, seed)
    return _labels(parts, len(affinity))


def kernighan_lin(affinity: Floats, clusters: int, seed: int) -> Ints:
    """Recursive bisection with Kernighan-Lin exchanges."""
    parts: list[tuple[list[int], int]] = [(list(range(len(affinity))), clusters)]
    done: list[list[int]] = []
    while parts:
        part, count = parts.pop()
        if count == 1:
            done.append(part)
            continue
        left = count // 2
        low, high = _halved(affinity, part, len(part) * left // count, seed)
        parts += [(low, left), (high, count - left)]
    return _labels(done, len(affinity))


METHODS: dict[str, Method] = {
    "spectral": spectral,
    "agglomerative": agglomerative,
    "louvain": louvain,
    "kernighan_lin": kernighan_lin,
}


def _graph(affinity: Floats) -> nx.Graph[Any]:
    off_diagonal = affinity * (1.0 - np.eye(len(affinity)))
    return nx.from_numpy_array(off_diagonal)


def _halved(affinity: Floats, part: list[int], size: int, seed: int) -> list[list[int]]:
    """Split `part` into `size` nodes and the rest, cutting little."""
    if size == 0 or size == len(part):
        return [part[:size], part[size:]]
    graph = _graph(affinity[np.ix_(part, part)])
    nodes = range(len(part))
    start = (set(nodes[:size]), set(nodes[size:]))
    halves = nx.community.kernighan_lin_bisection(
        graph, start, weight="weight", seed=seed
    )
    return [sorted(part[i] for i in half) for half in halves]


def _labels(parts: list[list[int]], nodes: int) -> Ints:
    labels = np.zeros(nodes, dtype=np.int64)
    for label, part in enumerate(sorted(parts)):
        labels[part] = label
    return labels
