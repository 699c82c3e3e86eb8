"""Loads of the GPUs at one step, kept while tokens move between replicas."""

import math
from typing import NamedTuple

import numpy as np

from gemopt.jit import kernel
from gemopt.latency.base import CURVE, LINE, TWO_LINES
from gemopt.latency.kernels import latency_at, share_of
from gemopt.latency.tables import LatencyTables


class Replicas(NamedTuple):
    """Where the copies of each expert of a layer are."""

    slot2gpu: np.ndarray  # [slots]
    slot2expert: np.ndarray  # [slots]
    first_copy: np.ndarray  # [experts + 1] of copy2slot
    copy2slot: np.ndarray  # [slots] slots ordered by expert
    first_slot: np.ndarray  # [gpus + 1]
    replicated: np.ndarray  # [experts with two slots or more]


class StepLoads(NamedTuple):
    """Tokens of every slot, and what they add up to on every GPU."""

    row: np.ndarray  # [gpus] row of the latency tables that applies
    share: np.ndarray  # [slots] tokens
    tokens: np.ndarray  # [gpus]
    active: np.ndarray  # [gpus] slots that have tokens
    tiles: np.ndarray  # [gpus]
    latency: np.ndarray  # [gpus] us


@kernel
def tokens_only(tables: LatencyTables, row: int) -> bool:
    """Tell whether latency is one line in the tokens of the GPU."""
    if tables.kind[row] == CURVE:
        return bool(tables.piece_start[row + 1] - tables.piece_start[row] == 1)
    if tables.kind[row] == TWO_LINES:
        return False
    return bool(tables.lines[row, 0, 1] == 0.0 and tables.lines[row, 0, 2] == 0.0)


@kernel
def slope_at(tables: LatencyTables, row: int) -> float:
    """Latency of one more token in us, for a row of `tokens_only`."""
    if tables.kind[row] == LINE:
        return float(tables.lines[row, 0, 3])
    return float(tables.slope[tables.piece_start[row]])


@kernel
def add_up(tables: LatencyTables, copies: Replicas, step: StepLoads) -> float:
    """Recompute the sums of every GPU from `share`; return the slowest, us."""
    slowest = -np.inf
    for g in range(step.row.shape[0]):
        row = step.row[g]
        tile = tables.tile[row]
        tokens = active = tiles = 0.0
        for s in range(copies.first_slot[g], copies.first_slot[g + 1]):
            share = step.share[s]
            tokens += share
            if share > 0.0:
                active += 1.0
                tiles += math.ceil(share / tile)
        step.tokens[g], step.active[g], step.tiles[g] = tokens, active, tiles
        step.latency[g] = latency_at(tables, row, tokens, active, tiles)
        slowest = max(slowest, step.latency[g])
    return slowest


@kernel
def latency_with(
    tables: LatencyTables, copies: Replicas, step: StepLoads, slot: int, share: float
) -> float:
    """Latency of the slot's GPU in us if the slot had `share` tokens."""
    g = copies.slot2gpu[slot]
    row = step.row[g]
    tile = tables.tile[row]
    old = step.share[slot]
    tokens = step.tokens[g] + (share - old)
    active = step.active[g]
    if (share > 0.0) != (old > 0.0):
        active += 1.0 if share > 0.0 else -1.0
    tiles = step.tiles[g] + (math.ceil(share / tile) - math.ceil(old / tile))
    return float(latency_at(tables, row, tokens, active, tiles))


@kernel
def set_share(
    tables: LatencyTables, copies: Replicas, step: StepLoads, slot: int, share: float
) -> None:
    """Give the slot `share` tokens and bring the sums of its GPU up to date."""
    g = copies.slot2gpu[slot]
    latency = latency_with(tables, copies, step, slot, share)
    tile = tables.tile[step.row[g]]
    old = step.share[slot]
    step.tokens[g] += share - old
    if (share > 0.0) != (old > 0.0):
        step.active[g] += 1.0 if share > 0.0 else -1.0
    step.tiles[g] += math.ceil(share / tile) - math.ceil(old / tile)
    step.latency[g] = latency
    step.share[slot] = share


@kernel
def split_evenly(
    copies: Replicas,
    loads: np.ndarray,  # [experts] tokens
    share: np.ndarray,  # [slots] tokens, written
) -> None:
    """Give every replica of an expert the same."""
    for e in range(loads.shape[0]):
        first, end = copies.first_copy[e], copies.first_copy[e + 1]
        for i in range(first, end):
            share[copies.copy2slot[i]] = share_of(loads[e], end - first)


@kernel
def give_to_one(
    tables: LatencyTables,
    copies: Replicas,
    loads: np.ndarray,  # [experts] tokens
    step: StepLoads,
    first_only: bool,
) -> float:
    """Give each expert's tokens to one replica; return the slowest GPU, us.

    To the first one, or, expert by expert in falling load, to the replica whose GPU
    then ends first.
    """
    step.share[:] = 0.0
    for e in range(loads.shape[0]):
        slot = copies.copy2slot[copies.first_copy[e]]
        if first_only or copies.first_copy[e + 1] - copies.first_copy[e] == 1:
            step.share[slot] = loads[e]
    slowest = add_up(tables, copies, step)
    if first_only:
        return slowest
    order = np.argsort(-loads[copies.replicated], kind="mergesort")
    for i in order:
        e = copies.replicated[i]
        best, at = np.inf, -1
        for c in range(copies.first_copy[e], copies.first_copy[e + 1]):
            slot = copies.copy2slot[c]
            latency = latency_with(tables, copies, step, slot, loads[e])
            if latency < best:
                best, at = latency, slot
        set_share(tables, copies, step, at, loads[e])
    return float(step.latency.max())
