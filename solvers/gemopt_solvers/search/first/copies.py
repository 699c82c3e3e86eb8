"""How many copies of each expert: split what swings, not only what is large.

Placement can pack unequal means; only splitting takes the swings out of a load. The
next copy goes to the largest (mean + z sd) / copies. EPLB is z = 0.
"""

import numpy as np

from gemopt.arrays import Ints
from gemopt.jit import kernel


@kernel
def volatility_into(
    unit: np.ndarray,  # [experts, windows] load of an expert with one copy
    weights: np.ndarray,  # [windows]
    z: float,
    mean: np.ndarray,  # [experts], written
    need: np.ndarray,  # [experts] mean + z standard deviations, written
) -> None:
    """Write the mean load of every expert and what its copies are dealt by."""
    total = 0.0
    for t in range(weights.shape[0]):
        total += weights[t]
    for e in range(unit.shape[0]):
        first, second = 0.0, 0.0
        for t in range(weights.shape[0]):
            value = np.float64(unit[e, t])
            first += weights[t] * value
            second += weights[t] * value * value
        first /= total
        second = second / total - first * first
        mean[e] = first
        need[e] = first + z * np.sqrt(max(second, 0.0))


def room_of(slots: Ints) -> Ints:
    """Slots beyond those of the k GPUs with most slots, for k = 0, 1, ...

    Copies fit on distinct GPUs if and only if for every k those beyond the k-th copy
    of an expert fit there (Gale and Ryser).
    """
    falling = -np.sort(-slots)
    return np.concatenate([[slots.sum()], slots.sum() - np.cumsum(falling)])


@kernel
def copies_into(
    need: np.ndarray,  # [experts]
    room: np.ndarray,  # [gpus + 1] see `room_of`
    copies: np.ndarray,  # [experts], written
) -> None:
    """Deal all slots: the next copy to the largest need per copy, as far as it fits."""
    experts, levels = need.shape[0], room.shape[0]
    beyond = np.zeros(levels, dtype=np.int64)
    beyond[0] = experts
    share = np.empty(experts)
    for e in range(experts):
        copies[e], share[e] = 1, need[e]
    for _ in range(room[0] - experts):
        limit = 0
        while beyond[limit] < room[limit]:
            limit += 1
        best = -1
        for e in range(experts):
            if copies[e] < limit and (best < 0 or share[e] > share[best]):
                best = e
        for k in range(copies[best] + 1):
            beyond[k] += 1
        copies[best] += 1
        share[best] = need[best] / copies[best]
