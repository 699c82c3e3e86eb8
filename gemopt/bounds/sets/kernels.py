"""Hot loop of bound D: the cheapest set of experts for a GPU."""

import numpy as np

from gemopt.jit import kernel


@kernel
def _priced(
    load: np.ndarray,  # [steps] us beyond the room, without `more`
    weight: np.ndarray,  # [steps]
    more: np.ndarray,  # [steps]
    heavier: np.ndarray,  # [steps]
    scratch: np.ndarray,  # [steps], a power of two of at least 16
) -> float:
    """``sum_t max(load + more, 0) (weight + heavier)``, by halves: it vectorises."""
    steps = load.shape[0]
    for t in range(steps):
        x = load[t] + more[t]
        x = x if x > 0.0 else 0.0
        scratch[t] = x * (weight[t] + heavier[t])
    half = steps // 2
    while half >= 8:
        for t in range(half):
            scratch[t] += scratch[t + half]
        half //= 2
    total = 0.0
    for t in range(2 * half):
        total += scratch[t]
    return total


@kernel
def cheapest_sets(
    cost: np.ndarray,  # [experts, steps] us
    room: np.ndarray,  # [steps] us
    weights: np.ndarray,  # [experts, steps] of each expert's GPU
    own: np.ndarray,  # [steps] weight of this GPU itself
    prices: np.ndarray,  # [experts], falling
    lightest: np.ndarray,  # [size + 1, experts + 1, steps] j lightest of e and later
    limit: float,
    sets: np.ndarray,  # [kept, size] int64, written
    values: np.ndarray,  # [kept], written
) -> tuple[float, int]:
    """Find the least excess less prices of a set, and the sets below `limit`.

    Depth first. A part of a set is left when even with its lightest completion in every
    step, and the highest prices that are left, it is no better than what is asked.

    Returns
    -------
    tuple
        The least value (``inf`` only if there are no sets) and the number of sets
        written; when more are below `limit` than fit, the cheapest are kept.
    """
    experts, steps = cost.shape
    size = sets.shape[1]
    load, weight = np.empty((size, steps)), np.empty((size, steps))
    load[0], weight[0] = -room, own
    nothing, scratch = np.zeros(steps), np.empty(steps)
    highest = np.zeros(experts + 1)  # sums of prices
    for e in range(experts):
        highest[e + 1] = highest[e] + prices[e]
    paid = np.zeros(size + 1)
    chosen, following = np.zeros(size, np.int64), np.zeros(size, np.int64)
    level, found, best = 0, 0, np.inf
    while level >= 0:
        e = following[level]
        left = size - level - 1
        if e + left >= experts:
            level -= 1
            continue
        following[level] = e + 1
        chosen[level] = e
        if left == 0:
            value = _priced(load[level], weight[level], cost[e], weights[e], scratch)
            value -= paid[level] + prices[e]
            best = min(best, value)
            if value < limit:
                sets[found], values[found] = chosen, value
                found += 1
                if found == len(values):
                    limit, found = 0.5 * (best + np.mean(values)), 0
                    for i in range(len(values)):
                        if values[i] < limit:
                            sets[found], values[found] = sets[i], values[i]
                            found += 1
            continue
        deeper = level + 1
        for t in range(steps):
            load[deeper, t] = load[level, t] + cost[e, t]
            weight[deeper, t] = weight[level, t] + weights[e, t]
        paid[deeper] = paid[level] + prices[e]
        least = _priced(
            load[deeper], weight[deeper], lightest[left, e + 1], nothing, scratch
        )
        least -= paid[deeper] + highest[e + 1 + left] - highest[e + 1]
        if least < max(limit, best):
            level, following[deeper] = deeper, e + 1
    return best, found
