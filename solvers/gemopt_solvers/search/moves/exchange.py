"""The best exchange between two GPUs: rank all by a local model, try the first few.

The maximum over GPUs is convex. Softened over a range of `blur` us it has a slope and a
curvature in each of the two GPUs' latencies; both together rank exchanges far better
than the global sum of squares does (of the gain of the best exchange, the best of the
first 4 reach 92 % on average, against 38 %).
"""

import numpy as np

from gemopt.jit import kernel
from gemopt_solvers.search.state.latency import (
    exchange_cost,
    refresh_gpu,
    refresh_top,
    rest_into,
)
from gemopt_solvers.search.state.state import (
    Curves,
    Floats,
    Ints,
    Seats,
    Singles,
    State,
    Times,
)
from gemopt_solvers.search.state.sums import sum_lanes


@kernel
def _slopes_into(times: Times, a: int, b: int, blur: float) -> float:
    """Write the softened slopes in the two GPUs' loads to scratch[1:3].

    Returns
    -------
    float
        Half the summed curvature in the difference of loads that an exchange moves.
    """
    latency, weights, scratch = times.latency, times.weights, times.scratch
    scale_a, scale_b, steps = times.scale[a], times.scale[b], weights.shape[0]
    inverse = np.float32(0.25 / blur)
    one, zero = np.float32(1.0), np.float32(0.0)
    for t in range(steps):
        x, y, r = latency[a, t], latency[b, t], scratch[0, t]
        high = x if x > y else y
        high = high if high > r else r
        # exp(-u) is near (1 - u / 4)**4, which is the same on every processor.
        u = one - (high - x) * inverse
        v = one - (high - y) * inverse
        s = one - (high - r) * inverse
        u = u if u > zero else zero
        v = v if v > zero else zero
        s = s if s > zero else zero
        u, v, s = (u * u) * (u * u), (v * v) * (v * v), (s * s) * (s * s)
        total = (u + v) + s
        ga, gb = scale_a * (u / total), scale_b * (v / total)
        w = weights[t]
        scratch[1, t], scratch[2, t] = w * ga, w * gb
        scratch[3, t] = w * (scale_a * ga + scale_b * gb - (ga - gb) * (ga - gb))
    return sum_lanes(scratch, 3, steps) * 0.5 / blur


@kernel
def _expert_slopes_into(
    seats: Seats, times: Times, a: int, b: int, load: Singles, moment: Singles,
    bend: float,
) -> None:  # fmt: skip
    """Write to `slope` what leaves when an expert of `a` goes, one of `b` comes.

    That is its share of the first-order change and of the curvature.
    """
    scratch, steps = times.scratch, times.scratch.shape[1]
    sa, sb = times.stream[a], times.stream[b]
    if sa == sb:
        for t in range(steps):
            scratch[1, t] -= scratch[2, t]
    for gpu in (a, b):
        for s in range(seats.first[gpu], seats.first[gpu + 1]):
            e = seats.phy2log[s]
            if sa == sb:
                for t in range(steps):
                    scratch[3, t] = load[sa, e, t] * scratch[1, t]
            else:
                for t in range(steps):
                    one, two = load[sa, e, t], load[sb, e, t]
                    scratch[3, t] = one * scratch[1, t] - two * scratch[2, t]
            value = sum_lanes(scratch, 3, steps)
            times.slope[e] = bend * moment[e, e] + (value if gpu == b else -value)


@kernel
def _rank_into(
    seats: Seats, a: int, b: int, slope: Singles, moment: Singles, bend: float,
    order: Ints, keys: Floats,
) -> int:  # fmt: skip
    """Write the slot pairs with the least predicted cost to `order`; return how many.

    ``keys`` holds their predicted changes, rising. Only predicted gains are listed.
    """
    phy2log, first, held = seats.phy2log, seats.first, seats.held
    width = keys.shape[0]
    found = 0
    curvature = np.float32(2.0 * bend)
    worst = np.float32(0.0)
    for i in range(first[a], first[a + 1]):
        e = phy2log[i]
        if held[e, b]:
            continue
        here = slope[e]
        for j in range(first[b], first[b + 1]):
            f = phy2log[j]
            key = (slope[f] + here) - curvature * moment[e, f]
            # Nearly all pairs end here; the few that stay are sorted in by insertion.
            if key >= worst or held[f, a]:
                continue
            found = found + 1 if found < width else width
            k = found - 1
            while k > 0 and keys[k - 1] > key:
                keys[k] = keys[k - 1]
                order[k, 0], order[k, 1] = order[k - 1, 0], order[k - 1, 1]
                k -= 1
            keys[k] = key
            order[k, 0], order[k, 1] = i, j
            if found == width:
                worst = np.float32(keys[width - 1])
    return found


@kernel
def rank_pair(
    state: State, a: int, b: int, blur: float, order: Ints, keys: Floats
) -> int:
    """Rank the exchanges of a pair of GPUs; see `_rank_into`."""
    seats, times, moment = state.seats, state.times, state.loads.moment
    rest_into(times, a, b)
    bend = _slopes_into(times, a, b, blur)
    _expert_slopes_into(seats, times, a, b, state.loads.load, moment, bend)
    return _rank_into(seats, a, b, times.slope, moment, bend, order, keys)


@kernel
def exchange(
    state: State, curves: Curves | None, i: int, j: int, a: int, b: int
) -> None:
    """Exchange the experts of slot `i` on GPU `a` and slot `j` on GPU `b`."""
    phy2log, held = state.seats.phy2log, state.seats.held
    e, f = phy2log[i], phy2log[j]
    phy2log[i], phy2log[j] = f, e
    held[e, a], held[f, a] = False, True
    held[f, b], held[e, b] = False, True
    refresh_gpu(state, curves, a)
    refresh_gpu(state, curves, b)


@kernel
def improve_pair(
    state: State, curves: Curves | None, a: int, b: int, blur: float, cost: float,
    least: float, order: Ints, keys: Floats,
) -> float:  # fmt: skip
    """Do the best of the exchanges tried if it gains more than `least` us.

    Returns
    -------
    float
        The objective afterwards; `cost` if nothing was done.
    """
    phy2log = state.seats.phy2log
    found = rank_pair(state, a, b, blur, order, keys)
    best, chosen = cost - least, -1
    for k in range(found):
        out, into = phy2log[order[k, 0]], phy2log[order[k, 1]]
        value = exchange_cost(state, curves, a, b, out, into)
        if value < best:
            best, chosen = value, k
    if chosen < 0:
        return cost
    exchange(state, curves, order[chosen, 0], order[chosen, 1], a, b)
    refresh_top(state.times)
    return best
