"""Slots that could go to another expert, ranked by what that gains at the margin."""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.state import (
    Flags,
    Floats,
    Ints,
    Seats,
    Singles,
    Times,
)
from gemopt_solvers.search.state.sums import sum_lanes


@kernel
def moved(phy2log: Ints, old: Flags, slot: int, gpu: int, expert: int) -> int:
    """Slots of `gpu` new to it once `slot` takes `expert`, less those now."""
    before, after = old[phy2log[slot], gpu], old[expert, gpu]
    if before == after:
        return 0
    return 1 if before else -1


@kernel
def marginal_costs_into(times: Times, blur: float, marginal: Singles) -> None:
    """Write what a unit of load on each GPU costs at the margin, us."""
    gpus, steps = marginal.shape
    one, zero = np.float32(1.0), np.float32(0.0)
    inverse = np.float32(0.25 / blur)
    total = times.scratch[1]
    for t in range(steps):
        total[t] = 0.0
    for g in range(gpus):
        for t in range(steps):
            u = one - (times.top[0, t] - times.latency[g, t]) * inverse
            u = u if u > zero else zero
            u = (u * u) * (u * u)
            marginal[g, t] = u
            total[t] += u
    for g in range(gpus):
        scale = np.float32(times.scale[g])
        for t in range(steps):
            marginal[g, t] *= scale * (times.weights[t] / total[t])


@kernel
def margins_into(
    times: Times, load: Singles, used: int, marginal: Singles, margin: Singles
) -> None:
    """Write what a copy of each expert costs at the margin, us ``[gpus, experts]``."""
    gpus, steps = marginal.shape
    product = times.scratch
    for g in range(gpus):
        stream, highest = times.stream[g], marginal[g, 0]
        for t in range(1, steps):
            highest = max(highest, marginal[g, t])
        for e in range(margin.shape[1]):
            if highest == 0.0:  # never near the slowest: its load costs nothing
                margin[g, e] = 0.0
                continue
            if used == 1:  # the only step is not worth a loop over its padding
                margin[g, e] = load[stream, e, 0] * marginal[g, 0]
                continue
            for t in range(steps):
                product[1, t] = load[stream, e, t] * marginal[g, t]
            margin[g, e] = sum_lanes(product, 1, steps)


@kernel
def rank_reassignments(
    seats: Seats,
    margin: Singles,
    old: Flags,
    room: int,
    given: Ints,
    worth: Floats,
) -> int:
    """Write the slots to give away that promise most: slot, GPU, expert; how many."""
    gpus, experts = margin.shape
    phy2log, first, copies = seats.phy2log, seats.first, seats.replicas
    cost, split, takes = np.zeros(experts), np.empty(experts), np.empty(experts)
    for g in range(gpus):
        for i in range(first[g], first[g + 1]):
            cost[phy2log[i]] += margin[g, phy2log[i]]
    for e in range(experts):
        split[e] = 1.0 / (copies[e] + 1)
    found, width, floor = 0, given.shape[0], 0.0
    ranked = np.empty(width, dtype=np.int64)
    for a in range(gpus):
        here = phy2log[first[a] : first[a + 1]]
        _takes_into(here, copies, margin[a], cost, split, takes, ranked)
        for i in range(first[a], first[a + 1]):
            e = phy2log[i]
            if copies[e] < 2:
                continue
            # `a` loses a copy, and the others take its share.
            own = np.float64(margin[a, e])
            freed = own - (cost[e] - own) / (copies[e] - 1)
            for f in ranked:
                value = freed + takes[f]
                if value <= floor:
                    break
                if moved(phy2log, old, i, a, int(f)) > room:
                    continue
                found = found + 1 if found < width else width
                k = found - 1
                while k > 0 and worth[k - 1] < value:
                    worth[k] = worth[k - 1]
                    for c in range(3):
                        given[k, c] = given[k - 1, c]
                    k -= 1
                worth[k] = value
                given[k, 0], given[k, 1], given[k, 2] = i, a, f
                if found == width:
                    floor = worth[width - 1]
    return found


@kernel
def _takes_into(
    held: Ints, copies: Ints, margin: Singles, cost: Floats, split: Floats,
    takes: Floats, ranked: Ints,
) -> None:  # fmt: skip
    """Write what is gained at the margin when a GPU takes a copy of each expert, us.

    `ranked` gets the experts that gain most.
    """
    for f in range(takes.shape[0]):
        takes[f] = (cost[f] - margin[f] * copies[f]) * split[f]
    for e in held:
        takes[e] = -np.inf
    last = ranked.shape[0] - 1
    ranked[:] = held[0]
    for f in range(takes.shape[0]):
        if takes[f] <= takes[ranked[last]]:
            continue
        k = last
        while k > 0 and takes[ranked[k - 1]] < takes[f]:
            ranked[k] = ranked[k - 1]
            k -= 1
        ranked[k] = f
