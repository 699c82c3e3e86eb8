"""Incremental evaluation of one layer: swap two slots, replace a replica."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.cost.sum_kernels import (
    gpu_sums_into,
    rows_into,
    shares_into,
    weighted_sum,
)
from gemopt.jit import inlined, kernel
from gemopt.latency.kernels import AFFINE, GRID, form_of, latencies_into, share_of
from gemopt.latency.tables import LatencyTables

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class State(NamedTuple):
    """Everything that a move of one layer reads and writes."""

    loads: Ints  # [experts, steps]
    weights: Floats  # [steps]
    phy2log: Ints  # [slots]
    slot2gpu: Ints  # [slots]
    replicas: Ints  # [experts]
    shares: Floats  # [experts, steps] tokens of one copy
    row: Ints  # [gpus, steps] row of the latency tables
    same_row: NDArray[np.bool_]  # [gpus]
    tile: Floats  # [gpus, steps] tile of that row
    tokens: Floats  # [gpus, steps]
    active: Floats  # [gpus, steps]
    tiles: Floats  # [gpus, steps]
    latency: Floats  # [gpus, steps] us
    top: Floats  # [3, steps] largest latencies, -inf where there is no such GPU
    top_gpu: Ints  # [3, steps] their GPUs, -1 where there is none
    scratch: Floats  # [5, steps]


@kernel
def fill_state(tables: LatencyTables, state: State, step_tokens: np.ndarray) -> None:
    """Compute every derived array of `state` from its placement."""
    gpus = state.latency.shape[0]
    rows_into(tables, step_tokens, state.row, state.same_row)
    state.replicas[:] = 0
    for expert in state.phy2log:
        state.replicas[expert] += 1
    shares_into(state.loads, state.replicas, state.shares)
    for g in range(gpus):
        for t in range(state.tile.shape[1]):
            state.tile[g, t] = tables.tile[state.row[g, t]]
        refresh_gpu(tables, state, g)
    refresh_top(state)


@kernel
def refresh_gpu(tables: LatencyTables, state: State, gpu: int) -> None:
    """Recompute sums and latency of one GPU from its slots."""
    held = state.phy2log[state.slot2gpu == gpu]
    tokens, active, tiles = state.tokens[gpu], state.active[gpu], state.tiles[gpu]
    gpu_sums_into(state.shares, state.tile[gpu], held, tokens, active, tiles)
    latencies_into(
        tables,
        state.row[gpu],
        state.same_row[gpu],
        tokens,
        active,
        tiles,
        state.latency[gpu],
    )


@kernel
def refresh_top(state: State) -> None:
    """Recompute the three slowest GPUs of each step."""
    gpus, steps = state.latency.shape
    top, top_gpu = state.top, state.top_gpu
    top[:] = -np.inf
    top_gpu[:] = -1
    for t in range(steps):
        for g in range(gpus):
            value = state.latency[g, t]
            if value > top[0, t]:
                top[2, t], top_gpu[2, t] = top[1, t], top_gpu[1, t]
                top[1, t], top_gpu[1, t] = top[0, t], top_gpu[0, t]
                top[0, t], top_gpu[0, t] = value, g
            elif value > top[1, t]:
                top[2, t], top_gpu[2, t] = top[1, t], top_gpu[1, t]
                top[1, t], top_gpu[1, t] = value, g
            elif value > top[2, t]:
                top[2, t], top_gpu[2, t] = value, g


@kernel
def _affine_into(
    new: Floats, at: int, tokens: Floats, gpu: int, shares: Floats, out: int, into: int,
    a: float, b: float,
) -> None:  # fmt: skip
    for t in range(tokens.shape[1]):
        new[at, t] = a + b * (tokens[gpu, t] + (shares[into, t] - shares[out, t]))


@kernel
def _grid_into(
    new: Floats, at: int, tokens: Floats, gpu: int, shares: Floats, out: int, into: int,
    inverse: float, intercept: Floats, slope: Floats, first: int, last: int,
) -> None:  # fmt: skip
    for t in range(tokens.shape[1]):
        load = tokens[gpu, t] + (shares[into, t] - shares[out, t])
        cell = first + math.ceil(load * inverse)
        cell = cell if cell < last else last
        new[at, t] = intercept[cell] + slope[cell] * load


@inlined
def exchanged_into(
    tables: LatencyTables, state: State, gpu: int, out: int, into: int, at: int
) -> None:
    """Write to scratch[at] the latency of `gpu` after `out` gave way to `into`.

    Both experts keep their numbers of replicas.
    """
    row = state.row[gpu, 0]
    form = form_of(tables, row, state.same_row[gpu])
    if form == AFFINE:
        piece = tables.piece_start[row]
        _affine_into(
            state.scratch, at, state.tokens, gpu, state.shares, out, into,
            tables.intercept[piece], tables.slope[piece],
        )  # fmt: skip
    elif form == GRID:
        _grid_into(
            state.scratch, at, state.tokens, gpu, state.shares, out, into,
            tables.grid_inverse[row], tables.cell_intercept, tables.cell_slope,
            tables.cell_start[row], tables.cell_start[row + 1] - 1,
        )  # fmt: skip
    else:
        _exchanged_counts_into(tables, state, gpu, out, into, at)


@kernel
def _exchanged_counts_into(
    tables: LatencyTables, state: State, gpu: int, out: int, into: int, at: int
) -> None:
    """`exchanged_into` for latencies that look at active experts and tiles."""
    tokens, active, tiles = state.scratch[0], state.scratch[1], state.scratch[2]
    share_out, share_in = state.shares[out], state.shares[into]
    old_tokens, old_active = state.tokens[gpu], state.active[gpu]
    old_tiles, tile = state.tiles[gpu], state.tile[gpu]
    for t in range(tokens.shape[0]):
        tokens[t] = old_tokens[t] + (share_in[t] - share_out[t])
        more = 1.0 if share_in[t] > 0.0 else 0.0
        less = 1.0 if share_out[t] > 0.0 else 0.0
        active[t] = old_active[t] + (more - less)
        more = math.ceil(share_in[t] / tile[t])
        less = math.ceil(share_out[t] / tile[t])
        tiles[t] = old_tiles[t] + (more - less)
    latencies_into(
        tables,
        state.row[gpu],
        state.same_row[gpu],
        tokens,
        active,
        tiles,
        state.scratch[at],
    )


@kernel
def swap_objective(
    tables: LatencyTables, state: State, slot_a: int, slot_b: int
) -> float:
    """Objective in us after slots `slot_a` and `slot_b` exchanged their experts."""
    gpu_a, gpu_b = state.slot2gpu[slot_a], state.slot2gpu[slot_b]
    expert_a, expert_b = state.phy2log[slot_a], state.phy2log[slot_b]
    steps = state.loads.shape[1]
    if gpu_a == gpu_b or expert_a == expert_b:
        return weighted_sum(state.weights, state.top[0])
    exchanged_into(tables, state, gpu_a, expert_a, expert_b, 3)
    exchanged_into(tables, state, gpu_b, expert_b, expert_a, 4)
    top, top_gpu, new = state.top, state.top_gpu, state.scratch
    for t in range(steps):
        moved_first = (top_gpu[0, t] == gpu_a) | (top_gpu[0, t] == gpu_b)
        moved_second = (top_gpu[1, t] == gpu_a) | (top_gpu[1, t] == gpu_b)
        # Loaded before they are chosen from: a conditional load stops vectorisation.
        largest, middle, smallest = top[0, t], top[1, t], top[2, t]
        rest = smallest if moved_second else middle
        rest = rest if moved_first else largest
        new_a, new_b = new[3, t], new[4, t]
        pair = new_a if new_a > new_b else new_b
        new[0, t] = pair if pair > rest else rest
    return weighted_sum(state.weights, new[0])


@kernel
def set_slot(state: State, slot: int, expert: int) -> np.ndarray:
    """Give `slot` to `expert`, re-split both experts; return the GPUs touched."""
    old = state.phy2log[slot]
    touched = np.zeros(state.latency.shape[0], dtype=np.bool_)
    touched[state.slot2gpu[slot]] = True
    state.phy2log[slot] = expert
    state.replicas[old] -= 1
    state.replicas[expert] += 1
    for e in (old, expert):
        for t in range(state.loads.shape[1]):
            state.shares[e, t] = share_of(state.loads[e, t], state.replicas[e])
    for s in range(state.phy2log.shape[0]):
        if state.phy2log[s] == old or state.phy2log[s] == expert:
            touched[state.slot2gpu[s]] = True
    return touched


@kernel
def replace_objective(
    tables: LatencyTables, state: State, slot: int, expert: int
) -> float:
    """Objective in us after `slot` took `expert`, loads of all copies re-split."""
    gpus, steps = state.latency.shape
    old = state.phy2log[slot]
    if old == expert:
        return weighted_sum(state.weights, state.top[0])
    touched = set_slot(state, slot, expert)
    slowest = np.full(steps, -np.inf)
    tokens, active, tiles = state.scratch[0], state.scratch[1], state.scratch[2]
    new = state.scratch[3]
    for g in range(gpus):
        if touched[g]:
            held = state.phy2log[state.slot2gpu == g]
            gpu_sums_into(state.shares, state.tile[g], held, tokens, active, tiles)
            latencies_into(
                tables, state.row[g], state.same_row[g], tokens, active, tiles, new
            )
        else:
            new[:] = state.latency[g]
        for t in range(steps):
            slowest[t] = max(slowest[t], new[t])
    set_slot(state, slot, old)
    return weighted_sum(state.weights, slowest)


@kernel
def apply_swap(tables: LatencyTables, state: State, slot_a: int, slot_b: int) -> None:
    """Exchange the experts of two slots."""
    a, b = state.phy2log[slot_a], state.phy2log[slot_b]
    state.phy2log[slot_a], state.phy2log[slot_b] = b, a
    refresh_gpu(tables, state, state.slot2gpu[slot_a])
    refresh_gpu(tables, state, state.slot2gpu[slot_b])
    refresh_top(state)


@kernel
def apply_replace(tables: LatencyTables, state: State, slot: int, expert: int) -> None:
    """Give `slot` to `expert` and re-split the loads of both experts."""
    touched = set_slot(state, slot, expert)
    for g in range(touched.shape[0]):
        if touched[g]:
            refresh_gpu(tables, state, g)
    refresh_top(state)
