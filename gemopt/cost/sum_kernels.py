"""Sums over experts of a GPU, and the weighted sum over steps."""

import math

import numpy as np

from gemopt.jit import inlined, kernel
from gemopt.latency.kernels import latencies_into, row_at, share_of
from gemopt.latency.tables import LatencyTables


@inlined
def weighted_sum(weights: np.ndarray, values: np.ndarray) -> float:
    """Sum of products in four lanes: one fixed order on every processor."""
    n = values.shape[0]
    s0 = s1 = s2 = s3 = 0.0
    i = 0
    while i + 4 <= n:
        s0 += weights[i] * values[i]
        s1 += weights[i + 1] * values[i + 1]
        s2 += weights[i + 2] * values[i + 2]
        s3 += weights[i + 3] * values[i + 3]
        i += 4
    while i < n:
        s0 += weights[i] * values[i]
        i += 1
    return (s0 + s1) + (s2 + s3)


@kernel
def rows_into(
    tables: LatencyTables,
    step_tokens: np.ndarray,  # [steps] int64
    row: np.ndarray,  # [gpus, steps] int64, written
    same_row: np.ndarray,  # [gpus] bool, written
) -> None:
    """Write which row of each GPU applies at each step."""
    gpus, steps = row.shape
    for g in range(gpus):
        for t in range(steps):
            row[g, t] = row_at(tables, g, float(step_tokens[t]))
        same_row[g] = True
        for t in range(1, steps):
            if row[g, t] != row[g, 0]:
                same_row[g] = False
                break


@kernel
def shares_into(
    loads: np.ndarray,  # [experts, steps] int64
    replicas: np.ndarray,  # [experts]
    shares: np.ndarray,  # [experts, steps] tokens, written
) -> None:
    """Write what each copy of each expert gets at each step."""
    for e in range(loads.shape[0]):
        copies = max(replicas[e], 1)
        if copies == 1:
            for t in range(loads.shape[1]):
                shares[e, t] = loads[e, t]
        else:
            for t in range(loads.shape[1]):
                shares[e, t] = share_of(loads[e, t], copies)


@kernel
def gpu_sums_into(
    shares: np.ndarray,  # [experts, steps] tokens of one copy
    tile: np.ndarray,  # [steps] tokens
    experts: np.ndarray,  # [slots of the GPU]
    tokens: np.ndarray,  # [steps], written
    active: np.ndarray,
    tiles: np.ndarray,
) -> None:
    """Write the three sums of one GPU at each step."""
    steps = shares.shape[1]
    tokens[:] = 0.0
    active[:] = 0.0
    tiles[:] = 0.0
    for e in experts:
        for t in range(steps):
            share = shares[e, t]
            tokens[t] += share
            active[t] += 1.0 if share > 0.0 else 0.0
            tiles[t] += math.ceil(share / tile[t])


@kernel
def evaluate_into(
    tables: LatencyTables,
    loads: np.ndarray,  # [layers, experts, steps] int64
    step_tokens: np.ndarray,  # [layers, steps] int64
    phy2log: np.ndarray,  # [layers, slots]
    first_slot: np.ndarray,  # [gpus + 1]
    replicas: np.ndarray,  # [layers, experts]
    tokens: np.ndarray,  # [layers, gpus, steps], written
    latency: np.ndarray,  # [layers, gpus, steps] us, written
) -> None:
    """Write tokens and latency of every GPU at every layer and step."""
    layers, experts, steps = loads.shape
    gpus = first_slot.shape[0] - 1
    row = np.empty((gpus, steps), dtype=np.int64)
    same_row = np.empty(gpus, dtype=np.bool_)
    tile = np.empty(steps)
    active = np.empty(steps)
    tiles = np.empty(steps)
    shares = np.empty((experts, steps))
    for layer in range(layers):
        rows_into(tables, step_tokens[layer], row, same_row)
        shares_into(loads[layer], replicas[layer], shares)
        for g in range(gpus):
            for t in range(steps):
                tile[t] = tables.tile[row[g, t]]
            held = phy2log[layer, first_slot[g] : first_slot[g + 1]]
            total = tokens[layer, g]
            gpu_sums_into(shares, tile, held, total, active, tiles)
            latencies_into(
                tables, row[g], same_row[g], total, active, tiles, latency[layer, g]
            )


@kernel
def straggler_into(
    latency: np.ndarray,  # [layers, gpus, steps] us
    weights: np.ndarray,  # [steps]
    slowest: np.ndarray,  # [layers, steps] us, written
    per_layer: np.ndarray,  # [layers] weighted us, written
) -> None:
    """Write the latency of the slowest GPU, and its weighted sum for each layer."""
    layers, gpus, steps = latency.shape
    for layer in range(layers):
        best = slowest[layer]
        for t in range(steps):
            best[t] = latency[layer, 0, t]
        for g in range(1, gpus):
            for t in range(steps):
                best[t] = max(best[t], latency[layer, g, t])
        per_layer[layer] = weighted_sum(weights, best)
