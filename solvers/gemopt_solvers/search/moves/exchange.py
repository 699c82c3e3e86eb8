"""The best exchange between two GPUs: rank all by a local model, try the first few.

The maximum over GPUs is convex. Softened over a range of `blur` us it has a slope and a
curvature in each of the two GPUs' latencies; both together rank exchanges far better
than the global sum of squares does (of the gain of the best exchange, the best of the
first 4 reach 92 % on average, against 38 %).
"""

import numpy as np
from numpy.typing import NDArray

from gemopt.jit import inlined, kernel
from gemopt_solvers.search.state.latency import (
    curve_cost,
    line_cost,
    refresh_gpu,
    refresh_top,
    rest_into,
)
from gemopt_solvers.search.state.state import Flags, Floats, Ints, Singles, State
from gemopt_solvers.search.state.sums import fold_lanes


@inlined
def slopes_into(
    latency: Singles, a: int, b: int, scale_a: float, scale_b: float,
    weights: Singles, scratch: Singles, blur: float,
) -> float:  # fmt: skip
    """Write the softened slopes in the two GPUs' loads to scratch[1:3].

    Returns
    -------
    float
        Half the summed curvature in the difference of loads that an exchange moves.
    """
    steps = weights.shape[0]
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
    return fold_lanes(scratch, 3, steps) * 0.5 / blur


@inlined
def tilt_into(
    phy2log: Ints, first: Ints, a: int, b: int, load: Singles, sa: int, sb: int,
    moment: Singles, bend: float, scratch: Singles, tilt: Singles,
) -> None:  # fmt: skip
    """Write to `tilt` what leaves when an expert of `a` goes, one of `b` comes.

    That is its share of the first-order change and of the curvature.
    """
    steps = scratch.shape[1]
    if sa == sb:
        for t in range(steps):
            scratch[1, t] -= scratch[2, t]
    for gpu in (a, b):
        for s in range(first[gpu], first[gpu + 1]):
            e = phy2log[s]
            if sa == sb:
                for t in range(steps):
                    scratch[3, t] = load[sa, e, t] * scratch[1, t]
            else:
                for t in range(steps):
                    one, two = load[sa, e, t], load[sb, e, t]
                    scratch[3, t] = one * scratch[1, t] - two * scratch[2, t]
            value = fold_lanes(scratch, 3, steps)
            tilt[e] = bend * moment[e, e] + (value if gpu == b else -value)


@inlined
def rank_into(
    phy2log: Ints, first: Ints, held: Flags, a: int, b: int,
    tilt: Singles, bend: float, moment: Singles, order: Ints, keys: Floats,
) -> int:  # fmt: skip
    """Write the slot pairs with the least predicted cost to `order`; return how many.

    ``keys`` holds their predicted changes, rising. Only predicted gains are listed.
    """
    width = keys.shape[0]
    found = 0
    curvature = np.float32(2.0 * bend)
    worst = np.float32(0.0)
    for i in range(first[a], first[a + 1]):
        e = phy2log[i]
        if held[e, b]:
            continue
        here = tilt[e]
        for j in range(first[b], first[b + 1]):
            f = phy2log[j]
            key = (tilt[f] + here) - curvature * moment[e, f]
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
def exchange(state: State, i: int, j: int, a: int, b: int) -> None:
    """Exchange the experts of slot `i` on GPU `a` and slot `j` on GPU `b`."""
    e, f = state.phy2log[i], state.phy2log[j]
    state.phy2log[i], state.phy2log[j] = f, e
    state.held[e, a], state.held[f, a] = False, True
    state.held[f, b], state.held[e, b] = False, True
    refresh_gpu(state, a)
    refresh_gpu(state, b)


@kernel
def rank_pair(
    phy2log: Ints, first: Ints, held: Flags, a: int, b: int,
    latency: Singles, top: Singles, top_gpu: NDArray[np.int32], weights: Singles,
    load: Singles, sa: int, sb: int, scale_a: float, scale_b: float, moment: Singles,
    scratch: Singles, tilt: Singles, blur: float, order: Ints, keys: Floats,
) -> int:  # fmt: skip
    """Rank the exchanges of a pair of GPUs; see `rank_into`."""
    rest_into(top, top_gpu, a, b, scratch)
    bend = slopes_into(latency, a, b, scale_a, scale_b, weights, scratch, blur)
    tilt_into(phy2log, first, a, b, load, sa, sb, moment, bend, scratch, tilt)
    return rank_into(phy2log, first, held, a, b, tilt, bend, moment, order, keys)


@kernel
def line_costs(
    latency: Singles, a: int, b: int, scale_a: float, scale_b: float,
    load: Singles, sa: int, sb: int, phy2log: Ints, order: Ints, found: int,
    weights: Singles, scratch: Singles, keys: Floats,
) -> None:  # fmt: skip
    """Write to `keys` what `line_cost` says of each exchange."""
    for k in range(found):
        out, into = phy2log[order[k, 0]], phy2log[order[k, 1]]
        keys[k] = line_cost(
            latency, a, b, scale_a, scale_b, load, sa, sb, out, into, weights, scratch
        )


@inlined
def improve_pair(
    state: State, a: int, b: int, blur: float, cost: float, least: float,
    order: Ints, keys: Floats,
) -> float:  # fmt: skip
    """Do the best of the exchanges tried if it gains more than `least` us.

    Returns
    -------
    float
        The objective afterwards; `cost` if nothing was done.
    """
    sa, sb = state.stream[a], state.stream[b]
    scale_a, scale_b = state.scale[a], state.scale[b]
    found = rank_pair(
        state.phy2log, state.first, state.held, a, b, state.latency, state.top,
        state.top_gpu, state.weights, state.load, sa, sb, scale_a, scale_b,
        state.moment, state.scratch, state.tilt, blur, order, keys,
    )  # fmt: skip
    if found == 0:
        return cost
    if state.curved:
        for k in range(found):
            out, into = state.phy2log[order[k, 0]], state.phy2log[order[k, 1]]
            keys[k] = curve_cost(state, a, b, out, into)
    else:
        line_costs(
            state.latency, a, b, scale_a, scale_b, state.load, sa, sb,
            state.phy2log, order, found, state.weights, state.scratch, keys,
        )  # fmt: skip
    best, chosen = cost - least, -1
    for k in range(found):
        if keys[k] < best:
            best, chosen = keys[k], k
    if chosen < 0:
        return cost
    exchange(state, order[chosen, 0], order[chosen, 1], a, b)
    refresh_top(state)
    return best
