"""Replicas and placement by mean and covariance, after FlashLB's description."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel
from gemopt.model.instance import Instance
from gemopt.run.bases import Rounds, offer_row
from gemopt.run.layers import BestRows, Work
from gemopt_solvers.search.first.copies import room_of
from gemopt_solvers.search.first.greedy import fullest_first_into

WINDOWS = 64  #: at most as many windows of steps
Z = 0.674  #: standard deviations above the mean: the upper quartile of a normal load
DEPTH = 4  #: groups of experts, hot to cold, whose copies are decided one after another
WIDTH = 8  #: numbers of copies tried for a group


class MeanCov(Rounds):
    """Balance ``mean + 0.674 sd`` of the load of each GPU; it knows no GPU speeds.

    Means, variances and covariances are taken over at most 64 windows of steps. A
    tree search (depth 4, width 8) decides how many copies each of four groups of
    experts gets; every leaf is a whole placement, largest expert first, each copy to
    the GPU whose ``mean + z sd`` it leaves least. The placement whose worst GPU is best
    is returned.

    References
    ----------
    FlashLB of vllm-ascend (the idea; this is our own code and our own reading of it).
    """

    name: ClassVar[str] = "meancov"
    summary: ClassVar[str] = "means and covariances of loads, as FlashLB; equal GPUs"

    def work(self, instance: Instance, best: BestRows, seed: int) -> Work:
        """Build the row of each layer once; nothing is searched."""

        def build(layer: int, _: int) -> Iterator[None]:
            row = meancov_row(instance.loads[layer], instance.weights, instance.slots)
            offer_row(best, instance, layer, row)
            yield

        return build


def meancov_row(loads: Ints, weights: Floats, slots: Ints) -> Ints:
    """Place one layer.

    Parameters
    ----------
    loads
        Token-expert assignments ``[experts, steps]``.
    weights
        Weight of each step ``[steps]``.
    slots
        Slots of each GPU ``[gpus]``.

    Returns
    -------
    numpy.ndarray
        Expert of each slot, int64 ``[slots]``.
    """
    mean, cov = _statistics(loads, weights)
    need = mean + Z * np.sqrt(np.diag(cov))
    room = room_of(slots)
    first = np.concatenate([[0], np.cumsum(slots)])
    extra = int(slots.sum()) - len(mean)
    order = np.argsort(-need, kind="stable")
    groups = [group for group in np.array_split(order, DEPTH) if len(group)]
    group = np.empty(len(mean), dtype=np.int64)
    for i, members in enumerate(groups):
        group[members] = i
    free = np.full(len(groups), -1, dtype=np.int64)
    row, copies, worst = _placed(mean, cov, need, group, free, room, first)
    if extra == 0:
        return row
    for level in range(len(groups)):
        chosen = int((copies[groups[level]] - 1).sum())
        low = max(0, chosen - WIDTH // 2)
        for count in range(low, min(extra, low + WIDTH) + 1):
            quota = free.copy()
            quota[level] = count
            trial = _placed(mean, cov, need, group, quota, room, first)
            if trial[2] < worst:
                row, copies, worst = trial
        free[level] = int((copies[groups[level]] - 1).sum())
    return row


def _statistics(loads: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """Mean ``[experts]`` and covariance ``[experts, experts]`` over windows."""
    steps = loads.shape[1]
    count = min(WINDOWS, steps)
    starts = np.arange(count) * steps // count
    weight = np.add.reduceat(weights, starts)
    used = weight > 0
    total = np.add.reduceat(loads * weights, starts, axis=1)[:, used]
    weight = weight[used]
    load = total / weight
    share = weight / weight.sum()
    mean = load @ share
    centred = (load - mean[:, None]) * np.sqrt(share)
    return mean, centred @ centred.T


def _placed(
    mean: Floats,
    cov: Floats,
    need: Floats,
    group: Ints,
    quota: Ints,
    room: Ints,
    first: Ints,
) -> tuple[Ints, Ints, float]:
    """Row, copies and worst GPU of the placement with these copies per group."""
    row = np.empty(first[-1], dtype=np.int64)
    copies = np.empty(len(mean), dtype=np.int64)
    worst = place_into(mean, cov, need, group, quota, room, first, copies, row)
    return row, copies, worst


@kernel
def place_into(
    mean: Floats,
    cov: Floats,
    need: Floats,
    group: Ints,  # [experts]
    quota: Ints,  # [groups] copies beyond the first of a group; -1 = as need says
    room: Ints,  # [gpus + 1]
    first: Ints,  # [gpus + 1]
    copies: Ints,  # [experts], written
    row: Ints,  # [slots], written
) -> float:
    """Deal copies, place them, and return the worst GPU's mean + z sd."""
    experts, gpus = mean.shape[0], first.shape[0] - 1
    _copies_into(need, group, quota, room, copies)
    share = need / copies
    order = np.argsort(-share, kind="mergesort")
    held = np.zeros((experts, gpus), dtype=np.bool_)
    used = np.zeros(gpus, dtype=np.int64)
    level, variance = np.zeros(gpus), np.zeros(gpus)
    shared = np.zeros((gpus, experts))  # covariance of each expert with a GPU's load
    stuck = False
    for i in range(experts):
        e = order[i]
        part = 1.0 / copies[e]
        for _ in range(copies[e]):
            best, least = -1, np.inf
            for g in range(gpus):
                if first[g] + used[g] == first[g + 1] or held[e, g]:
                    continue
                spread = variance[g] + part * (2.0 * shared[g, e] + part * cov[e, e])
                value = level[g] + part * mean[e] + Z * np.sqrt(max(spread, 0.0))
                if value < least:
                    best, least = g, value
            if best < 0:
                stuck = True
                continue
            row[first[best] + used[best]] = e
            used[best] += 1
            held[e, best] = True
            variance[best] += part * (2.0 * shared[best, e] + part * cov[e, e])
            level[best] += part * mean[e]
            for f in range(experts):
                shared[best, f] += part * cov[e, f]
    if stuck:
        fullest_first_into(copies, first, row, held)
    return _worst(mean, cov, copies, first, row)


@kernel
def _worst(mean: Floats, cov: Floats, copies: Ints, first: Ints, row: Ints) -> float:
    worst = -np.inf
    for g in range(first.shape[0] - 1):
        level, variance = 0.0, 0.0
        for s in range(first[g], first[g + 1]):
            level += mean[row[s]] / copies[row[s]]
            for r in range(first[g], first[g + 1]):
                variance += cov[row[s], row[r]] / (copies[row[s]] * copies[row[r]])
        worst = max(worst, level + Z * np.sqrt(max(variance, 0.0)))
    return worst


@kernel
def _copies_into(
    need: Floats, group: Ints, quota: Ints, room: Ints, copies: Ints
) -> None:
    """Deal all slots by need per copy; groups with a quota get that many extra ones."""
    experts, levels = need.shape[0], room.shape[0]
    beyond = np.zeros(levels, dtype=np.int64)
    beyond[0] = experts
    copies[:] = 1
    left = quota.copy()
    reserved = 0
    for k in range(left.shape[0]):
        reserved += max(left[k], 0)
    for dealt in range(room[0] - experts):
        limit = 0
        while beyond[limit] < room[limit]:
            limit += 1
        open_slots = room[0] - experts - dealt - reserved
        best, strict = -1, True
        for _ in range(2):  # first within the quotas, then as copies fit
            for e in range(experts):
                if copies[e] >= limit:
                    continue
                mine = left[group[e]]
                if strict and (mine == 0 or (mine < 0 and open_slots <= 0)):
                    continue
                if best < 0 or need[e] / copies[e] > need[best] / copies[best]:
                    best = e
            if best >= 0:
                break
            strict = False
        for k in range(copies[best] + 1):
            beyond[k] += 1
        copies[best] += 1
        if left[group[best]] > 0:
            left[group[best]] -= 1
            reserved -= 1
