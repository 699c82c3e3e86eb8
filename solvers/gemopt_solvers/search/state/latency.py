"""Latency of the GPUs of one layer: from scratch, and after an exchange."""

import numpy as np
from numpy.typing import NDArray

from gemopt.jit import inlined, kernel
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.kernels import curve_at, roof_at
from gemopt.latency.tables import LatencyTables
from gemopt_solvers.search.state.state import Singles, State
from gemopt_solvers.search.state.sums import fold_lanes


@inlined
def finished(tables: LatencyTables, row: int, first: float, second: float) -> float:
    """Latency in us from the terms of a GPU: tokens of a curve, us of lines."""
    kind = tables.kind[row]
    if kind == CURVE:
        return curve_at(tables, row, first)
    memory = tables.lines[row, 0, 0] + first
    if kind == LINE:
        return memory
    return roof_at(memory, tables.lines[row, 1, 0] + second, tables.power[row])


@kernel
def refresh_gpu(state: State, gpu: int) -> None:
    """Recompute the sums and the latency of one GPU from its slots."""
    start, stop = state.first[gpu], state.first[gpu + 1]
    steps = state.latency.shape[1]
    if state.curved:
        for i in range(2):
            term = state.term[gpu, i]
            state.sums[i, gpu] = 0.0
            if term < 0:
                continue
            for s in range(start, stop):
                e = state.phy2log[s]
                for t in range(steps):
                    state.sums[i, gpu, t] += state.terms[term, e, t]
        for t in range(steps):
            state.latency[gpu, t] = finished(
                state.tables,
                state.row[gpu, t],
                state.sums[0, gpu, t],
                state.sums[1, gpu, t],
            )
        return
    stream, scale = state.stream[gpu], state.scale[gpu]
    total = state.scratch[0]
    total[:] = 0.0
    for s in range(start, stop):
        e = state.phy2log[s]
        for t in range(steps):
            total[t] += state.load[stream, e, t]
    for t in range(steps):
        state.latency[gpu, t] = state.base[gpu, t] + scale * total[t]


@kernel
def refresh_top(state: State) -> None:
    """Recompute the three slowest GPUs of each step."""
    gpus, steps = state.latency.shape
    top, top_gpu = state.top, state.top_gpu
    top[:] = -np.inf
    top_gpu[:] = -1
    for g in range(gpus):
        for t in range(steps):
            value = state.latency[g, t]
            a, b, c = top[0, t], top[1, t], top[2, t]
            i, j, k = top_gpu[0, t], top_gpu[1, t], top_gpu[2, t]
            gpu = np.int32(g)
            top[2, t] = b if value > b else (value if value > c else c)
            top_gpu[2, t] = j if value > b else (gpu if value > c else k)
            top[1, t] = a if value > a else (value if value > b else b)
            top_gpu[1, t] = i if value > a else (gpu if value > b else j)
            top[0, t] = value if value > a else a
            top_gpu[0, t] = gpu if value > a else i


@kernel
def refresh_all(state: State) -> float:
    """Recompute latencies and maxima; return the objective in us."""
    for g in range(state.latency.shape[0]):
        refresh_gpu(state, g)
    refresh_top(state)
    return objective(state)


@kernel
def objective(state: State) -> float:
    """Weighted sum over steps of the slowest GPU's latency, in us."""
    total = 0.0
    for t in range(state.weights.shape[0]):
        total += np.float64(state.weights[t]) * np.float64(state.top[0, t])
    return total


@inlined
def rest_into(
    top: Singles, top_gpu: NDArray[np.int32], a: int, b: int, scratch: Singles
) -> None:
    """Write to scratch[0] the slowest latency of all GPUs but `a` and `b`."""
    for t in range(scratch.shape[1]):
        i, j = top_gpu[0, t], top_gpu[1, t]
        largest, middle, smallest = top[0, t], top[1, t], top[2, t]
        below = smallest if (j == a) | (j == b) else middle
        scratch[0, t] = below if (i == a) | (i == b) else largest


@kernel
def exchanged_into(state: State, gpu: int, out: int, into: int, new: int) -> None:
    """Write to scratch[new] the latency of `gpu` after `out` gave way to `into`."""
    steps = state.latency.shape[1]
    one, two = state.term[gpu, 0], state.term[gpu, 1]
    for t in range(steps):
        first = state.sums[0, gpu, t] + (
            state.terms[one, into, t] - state.terms[one, out, t]
        )
        second = 0.0
        if two >= 0:
            second = state.sums[1, gpu, t] + (
                state.terms[two, into, t] - state.terms[two, out, t]
            )
        state.scratch[new, t] = finished(state.tables, state.row[gpu, t], first, second)


@kernel
def line_cost(
    latency: Singles, a: int, b: int, scale_a: float, scale_b: float,
    load: Singles, sa: int, sb: int, out: int, into: int,
    weights: Singles, scratch: Singles,
) -> float:  # fmt: skip
    """`swap_cost` where latency is a line."""
    steps = weights.shape[0]
    for t in range(steps):
        one = latency[a, t] + scale_a * (load[sa, into, t] - load[sa, out, t])
        two = latency[b, t] - scale_b * (load[sb, into, t] - load[sb, out, t])
        other = scratch[0, t]
        pair = one if one > two else two
        scratch[3, t] = weights[t] * (pair if pair > other else other)
    return fold_lanes(scratch, 3, steps)


@kernel
def _curve_cost(weights: Singles, scratch: Singles) -> float:
    steps = weights.shape[0]
    for t in range(steps):
        one, two, other = scratch[4, t], scratch[5, t], scratch[0, t]
        pair = one if one > two else two
        scratch[3, t] = weights[t] * (pair if pair > other else other)
    return fold_lanes(scratch, 3, steps)


@kernel
def curve_cost(state: State, a: int, b: int, out: int, into: int) -> float:
    """`swap_cost` where latency is no line."""
    exchanged_into(state, a, out, into, 4)
    exchanged_into(state, b, into, out, 5)
    return _curve_cost(state.weights, state.scratch)
