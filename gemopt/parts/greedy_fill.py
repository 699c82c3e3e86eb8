"""A layer that is being filled expert by expert, and two greedy rules to fill it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.cost.sum_kernels import rows_into, shares_into, weighted_sum
from gemopt.jit import inlined, kernel
from gemopt.latency.kernels import AFFINE, PLAIN_LINE, form_of, latencies_into
from gemopt.latency.tables import LatencyTables
from gemopt.model.instance import Instance

Floats = NDArray[np.float64]


class Partial(NamedTuple):
    """Sums of every GPU over the experts that it holds so far."""

    shares: Floats  # [experts, steps] tokens of one copy
    weights: Floats  # [steps]
    row: Ints  # [gpus, steps] row of the latency tables
    same_row: NDArray[np.bool_]  # [gpus]
    tile: Floats  # [gpus, steps] tokens
    tokens: Floats  # [gpus, steps]
    active: Floats  # [gpus, steps]
    tiles: Floats  # [gpus, steps]
    slowest: Floats  # [steps] us
    held: NDArray[np.bool_]  # [gpus, experts]
    filled: Ints  # [gpus] slots taken
    first_slot: Ints  # [gpus + 1]
    phy2log: Ints  # [slots], -1 where empty
    scratch: Floats  # [4, steps]


def partial_layer(instance: Instance, layer: int, copies: Ints) -> Partial:
    """Start an empty layer whose experts will have `copies` ``[experts]``."""
    gpus, steps = instance.num_gpus, instance.num_steps
    partial = Partial(
        shares=np.empty((instance.num_experts, steps)),
        weights=instance.weights,
        row=np.empty((gpus, steps), dtype=np.int64),
        same_row=np.empty(gpus, dtype=np.bool_),
        tile=np.empty((gpus, steps)),
        tokens=np.zeros((gpus, steps)),
        active=np.zeros((gpus, steps)),
        tiles=np.zeros((gpus, steps)),
        slowest=np.zeros(steps),
        held=np.zeros((gpus, instance.num_experts), dtype=np.bool_),
        filled=np.zeros(gpus, dtype=np.int64),
        first_slot=np.concatenate([[0], np.cumsum(instance.slots)]),
        phy2log=np.full(instance.num_slots, -1, dtype=np.int64),
        scratch=np.empty((4, steps)),
    )
    shares_into(instance.loads[layer], copies, partial.shares)
    rows_into(
        instance.tables, instance.step_tokens[layer], partial.row, partial.same_row
    )
    partial.tile[:] = instance.tables.tile[partial.row]
    return partial


@inlined
def has_room(partial: Partial, gpu: int, expert: int) -> bool:
    """Tell whether `gpu` has a free slot and no copy of `expert`."""
    room = partial.first_slot[gpu + 1] - partial.first_slot[gpu]
    return bool(partial.filled[gpu] < room and not partial.held[gpu, expert])


@kernel
def latency_with(
    tables: LatencyTables, partial: Partial, gpu: int, expert: int
) -> np.ndarray:
    """Latency of `gpu` if it took `expert`, us ``[steps]``; a view of the scratch."""
    tokens, active, tiles = partial.scratch[0], partial.scratch[1], partial.scratch[2]
    share, out = partial.shares[expert], partial.scratch[3]
    for t in range(tokens.shape[0]):
        tokens[t] = partial.tokens[gpu, t] + share[t]
        active[t] = partial.active[gpu, t] + (1.0 if share[t] > 0.0 else 0.0)
        tiles[t] = partial.tiles[gpu, t] + math.ceil(share[t] / partial.tile[gpu, t])
    latencies_into(
        tables, partial.row[gpu], partial.same_row[gpu], tokens, active, tiles, out
    )
    return out


@kernel
def take(partial: Partial, gpu: int, expert: int) -> None:
    """Give the next free slot of `gpu` to `expert`."""
    partial.phy2log[partial.first_slot[gpu] + partial.filled[gpu]] = expert
    partial.filled[gpu] += 1
    partial.held[gpu, expert] = True
    share = partial.shares[expert]
    for t in range(share.shape[0]):
        partial.tokens[gpu, t] += share[t]
        partial.active[gpu, t] += 1.0 if share[t] > 0.0 else 0.0
        partial.tiles[gpu, t] += math.ceil(share[t] / partial.tile[gpu, t])


@kernel
def additive_gains(tables: LatencyTables, partial: Partial) -> np.ndarray:
    """What each expert adds to the summed latency of each GPU, us [gpus, experts].

    NaN for GPUs whose latency is not one line in the sums of their experts.
    """
    gpus, experts = partial.held.shape
    steps = partial.weights.shape[0]
    gain = np.full((gpus, experts), np.nan)
    ones = np.empty(steps)
    for g in range(gpus):
        first = partial.row[g, 0]
        form = form_of(tables, first, partial.same_row[g])
        if form == AFFINE:
            slope = tables.slope[tables.piece_start[first]]
            for e in range(experts):
                gain[g, e] = slope * weighted_sum(partial.weights, partial.shares[e])
        elif form == PLAIN_LINE:
            c = tables.lines[first, 0]
            for e in range(experts):
                for t in range(steps):
                    share = partial.shares[e, t]
                    one = c[1] if share > 0.0 else 0.0
                    ones[t] = one + c[2] * math.ceil(share / partial.tile[g, t])
                    ones[t] += c[3] * share
                gain[g, e] = weighted_sum(partial.weights, ones)
    return gain


@kernel
def place_by_finish(
    tables: LatencyTables, partial: Partial, order: np.ndarray
) -> np.ndarray:
    """Give each expert of `order` to the GPU that would finish earliest on average.

    Ties go to the GPU with fewer tokens, then to the lower index. An expert that no
    GPU can take is left out. Returns the summed latency of each GPU, us ``[gpus]``.
    """
    gpus = partial.held.shape[0]
    gain = additive_gains(tables, partial)
    finish = np.empty(gpus)
    load = np.zeros(gpus)
    for g in range(gpus):  # an idle GPU already takes its base latency
        zeros, out = partial.scratch[0], partial.scratch[3]
        zeros[:] = 0.0
        latencies_into(
            tables, partial.row[g], partial.same_row[g], zeros, zeros, zeros, out
        )
        finish[g] = weighted_sum(partial.weights, out)
    for expert in order:
        chosen, best = -1, np.inf
        for g in range(gpus):
            if not has_room(partial, g, expert):
                continue
            cost = finish[g] + gain[g, expert]
            if np.isnan(cost):
                added = latency_with(tables, partial, g, expert)
                cost = weighted_sum(partial.weights, added)
            if cost < best or (cost == best and load[g] < load[chosen]):
                chosen, best = g, cost
        if chosen >= 0:
            take(partial, chosen, expert)
            finish[chosen] = best
            load[chosen] += weighted_sum(partial.weights, partial.shares[expert])
    return finish


@kernel
def place_apart(tables: LatencyTables, partial: Partial, order: np.ndarray) -> None:
    """Give each expert of `order` to the GPU where the slowest GPU suffers least.

    The cost is the weighted sum over steps of the slowest GPU so far, so that experts
    that are hot together part ways and slow GPUs get what is hot when others are not.
    Ties go to the GPU that would finish earliest on average, then to the lower index.
    An expert that no GPU can take is left out.
    """
    gpus = partial.held.shape[0]
    slowest = partial.slowest
    for expert in order:
        chosen, best, best_own = -1, np.inf, np.inf
        for g in range(gpus):
            if not has_room(partial, g, expert):
                continue
            new = latency_with(tables, partial, g, expert)
            own = weighted_sum(partial.weights, new)
            for t in range(slowest.shape[0]):
                high = slowest[t]
                new[t] = new[t] if new[t] > high else high
            cost = weighted_sum(partial.weights, new)
            if cost < best or (cost == best and own < best_own):
                chosen, best, best_own = g, cost, own
        if chosen >= 0:
            new = latency_with(tables, partial, chosen, expert)
            for t in range(slowest.shape[0]):
                slowest[t] = max(slowest[t], new[t])
            take(partial, chosen, expert)
