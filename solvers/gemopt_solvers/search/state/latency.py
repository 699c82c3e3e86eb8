"""Latency of the GPUs of one layer: from scratch, and after an exchange."""

import numpy as np

from gemopt.jit import inlined, kernel
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.kernels import curve_at, roof_at
from gemopt.latency.tables import LatencyTables
from gemopt_solvers.search.state.state import (
    Curves,
    Floats,
    Seats,
    Singles,
    State,
    Times,
)
from gemopt_solvers.search.state.sums import sum_lanes


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
def _finish_into(
    curves: Curves, gpu: int, first: Floats, second: Floats, out: Singles
) -> None:
    """Write the latency of a GPU whose terms sum up to `first` and `second`."""
    for t in range(out.shape[0]):
        out[t] = finished(curves.tables, curves.row[gpu, t], first[t], second[t])


@kernel
def _refresh_curve(seats: Seats, terms: Floats, curves: Curves, gpu: int) -> None:
    sums, steps = curves.sums, terms.shape[2]
    for i in range(2):
        term = curves.term[gpu, i]
        for t in range(steps):
            sums[i, gpu, t] = 0.0
        if term < 0:
            continue
        for s in range(seats.first[gpu], seats.first[gpu + 1]):
            e = seats.phy2log[s]
            for t in range(steps):
                sums[i, gpu, t] += terms[term, e, t]


@kernel
def _refresh_line(seats: Seats, load: Singles, times: Times, gpu: int) -> None:
    stream, scale, steps = times.stream[gpu], times.scale[gpu], load.shape[2]
    total = times.scratch
    for t in range(steps):
        total[0, t] = 0.0
    for s in range(seats.first[gpu], seats.first[gpu + 1]):
        e = seats.phy2log[s]
        for t in range(steps):
            total[0, t] += load[stream, e, t]
    for t in range(steps):
        times.latency[gpu, t] = times.base[gpu, t] + scale * total[0, t]


@kernel
def refresh_gpu(state: State, curves: Curves | None, gpu: int) -> None:
    """Recompute the sums and the latency of one GPU from its slots."""
    if curves is None:
        _refresh_line(state.seats, state.loads.load, state.times, gpu)
    else:
        _refresh_curve(state.seats, state.loads.terms, curves, gpu)
        _finish_into(
            curves, gpu, curves.sums[0, gpu], curves.sums[1, gpu],
            state.times.latency[gpu],
        )  # fmt: skip


@kernel
def refresh_top(times: Times) -> None:
    """Recompute the three slowest GPUs of each step."""
    gpus, steps = times.latency.shape
    latency, top, top_gpu = times.latency, times.top, times.top_gpu
    for k in range(3):
        for t in range(steps):
            top[k, t] = -np.inf
            top_gpu[k, t] = -1
    for g in range(gpus):
        gpu = np.int32(g)
        for t in range(steps):
            value = latency[g, t]
            a, b, c = top[0, t], top[1, t], top[2, t]
            i, j, k = top_gpu[0, t], top_gpu[1, t], top_gpu[2, t]
            # Chosen, not branched on: a branch would stop vectorisation.
            top[2, t] = b if value > b else (value if value > c else c)
            top_gpu[2, t] = j if value > b else (gpu if value > c else k)
            top[1, t] = a if value > a else (value if value > b else b)
            top_gpu[1, t] = i if value > a else (gpu if value > b else j)
            top[0, t] = value if value > a else a
            top_gpu[0, t] = gpu if value > a else i


@kernel
def refresh_all(state: State, curves: Curves | None) -> float:
    """Recompute latencies and maxima; return the objective in us."""
    for g in range(state.times.latency.shape[0]):
        refresh_gpu(state, curves, g)
    refresh_top(state.times)
    return objective(state.times)


@kernel
def objective(times: Times) -> float:
    """Weighted sum over steps of the slowest GPU's latency, in us."""
    total = 0.0
    for t in range(times.weights.shape[0]):
        total += np.float64(times.weights[t]) * np.float64(times.top[0, t])
    return total


@kernel
def rest_into(times: Times, a: int, b: int) -> None:
    """Write to scratch[0] the slowest latency of all GPUs but `a` and `b`."""
    top, top_gpu, scratch = times.top, times.top_gpu, times.scratch
    for t in range(scratch.shape[1]):
        i, j = top_gpu[0, t], top_gpu[1, t]
        largest, middle, smallest = top[0, t], top[1, t], top[2, t]
        below = smallest if (j == a) | (j == b) else middle
        scratch[0, t] = below if (i == a) | (i == b) else largest


@kernel
def line_cost(
    times: Times, load: Singles, a: int, b: int, out: int, into: int
) -> float:
    """Objective after `a` gave `out` to `b` for `into`, us, where latency is a line.

    `rest_into` must have been called for the two GPUs.
    """
    latency, weights, scratch = times.latency, times.weights, times.scratch
    scale_a, scale_b = times.scale[a], times.scale[b]
    sa, sb, steps = times.stream[a], times.stream[b], weights.shape[0]
    for t in range(steps):
        one = latency[a, t] + scale_a * (load[sa, into, t] - load[sa, out, t])
        two = latency[b, t] - scale_b * (load[sb, into, t] - load[sb, out, t])
        other = scratch[0, t]
        pair = one if one > two else two
        scratch[3, t] = weights[t] * (pair if pair > other else other)
    return sum_lanes(scratch, 3, steps)


@kernel
def _exchanged_into(
    curves: Curves, terms: Floats, gpu: int, out: int, into: int, new: Singles
) -> None:
    """Write to `new` the latency of `gpu` after `out` gave way to `into`."""
    sums, tables, row = curves.sums, curves.tables, curves.row
    one, two = curves.term[gpu, 0], curves.term[gpu, 1]
    for t in range(new.shape[0]):
        first = sums[0, gpu, t] + (terms[one, into, t] - terms[one, out, t])
        second = 0.0
        if two >= 0:
            second = sums[1, gpu, t] + (terms[two, into, t] - terms[two, out, t])
        new[t] = finished(tables, row[gpu, t], first, second)


@kernel
def curve_cost(
    times: Times, terms: Floats, curves: Curves, a: int, b: int, out: int, into: int
) -> float:
    """`line_cost` where latency is no line."""
    weights, scratch = times.weights, times.scratch
    _exchanged_into(curves, terms, a, out, into, scratch[4])
    _exchanged_into(curves, terms, b, into, out, scratch[5])
    steps = weights.shape[0]
    for t in range(steps):
        one, two, other = scratch[4, t], scratch[5, t], scratch[0, t]
        pair = one if one > two else two
        scratch[3, t] = weights[t] * (pair if pair > other else other)
    return sum_lanes(scratch, 3, steps)


@kernel
def exchange_cost(
    state: State, curves: Curves | None, a: int, b: int, out: int, into: int
) -> float:
    """Objective after `a` gave `out` to `b` for `into`, us; after `rest_into`."""
    if curves is None:
        return line_cost(state.times, state.loads.load, a, b, out, into)
    return curve_cost(state.times, state.loads.terms, curves, a, b, out, into)
