"""Latency of one GPU from its sums, as the kernels compute it."""

import math

import numpy as np

from gemopt.jit import inlined, kernel
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.tables import LatencyTables
from gemopt.model.placement import SHARE_UNIT

AFFINE, GRID, PLAIN_LINE, GENERAL = 0, 1, 2, 3

_UNIT = SHARE_UNIT
_INVERSE_UNIT = 1.0 / SHARE_UNIT


@inlined
def share_of(load: int, replicas: int) -> float:
    """Tokens that each of `replicas` copies gets of `load`, on the share grid."""
    return ((load * _UNIT) // replicas) * _INVERSE_UNIT


@inlined
def row_at(tables: LatencyTables, gpu: int, step_tokens: float) -> int:
    """Row of `gpu` that applies to a step with `step_tokens` on all GPUs."""
    row = tables.gpu_row[gpu]
    while step_tokens > tables.max_step_tokens[row]:
        row += 1
    return row


@inlined
def curve_at(tables: LatencyTables, row: int, tokens: float) -> float:
    """Latency in us of a CURVE row."""
    if tables.grid_inverse[row] > 0.0:
        first, end = tables.cell_start[row], tables.cell_start[row + 1]
        cell = first + math.ceil(tokens * tables.grid_inverse[row])
        cell = cell if cell < end else end - 1
        return tables.cell_intercept[cell] + tables.cell_slope[cell] * tokens
    low, high = tables.piece_start[row], tables.piece_start[row + 1] - 1
    while low < high:  # the first piece whose limit is at least `tokens`
        middle = (low + high) // 2
        if tables.upto[middle] < tokens:
            low = middle + 1
        else:
            high = middle
    return tables.intercept[low] + tables.slope[low] * tokens


@inlined
def line_at(
    tables: LatencyTables,
    row: int,
    which: int,
    tokens: float,
    active: float,
    tiles: float,
) -> float:
    """Latency in us of one line of a LINE or TWO_LINES row."""
    c = tables.lines[row, which]
    return c[0] + c[1] * active + c[2] * tiles + c[3] * tokens


@inlined
def roof_at(memory: float, compute: float, power: float) -> float:
    """Plain (power 0) or smooth maximum of two latencies."""
    high = max(memory, compute)
    if power == 0.0 or high <= 0.0:
        return high
    ratio = min(memory, compute) / high
    return high * (1.0 + ratio**power) ** (1.0 / power)


@inlined
def latency_at(
    tables: LatencyTables, row: int, tokens: float, active: float, tiles: float
) -> float:
    """Latency in us of one GPU under kernel configuration `row`."""
    kind = tables.kind[row]
    if kind == CURVE:
        return curve_at(tables, row, tokens)
    memory = line_at(tables, row, 0, tokens, active, tiles)
    if kind == LINE:
        return memory
    compute = line_at(tables, row, 1, tokens, active, tiles)
    return roof_at(memory, compute, tables.power[row])


@inlined
def form_of(tables: LatencyTables, row: int, same_row: bool) -> int:
    """Which of the fast loops fits a GPU: see the constants above."""
    if not same_row:
        return GENERAL
    if tables.kind[row] == LINE:
        return PLAIN_LINE
    if tables.kind[row] != CURVE:
        return GENERAL
    if tables.piece_start[row + 1] - tables.piece_start[row] == 1:
        return AFFINE
    return GRID if tables.grid_inverse[row] > 0.0 else GENERAL


@kernel
def latencies_into(
    tables: LatencyTables,
    row: np.ndarray,  # [steps] row that applies at each step
    same_row: bool,  # all entries of `row` are equal
    tokens: np.ndarray,  # [steps]
    active: np.ndarray,  # [steps]
    tiles: np.ndarray,  # [steps]
    out: np.ndarray,  # [steps] us
) -> None:
    """Write the latency of one GPU at each step; one loop per form, to vectorise."""
    steps = tokens.shape[0]
    first = row[0]
    form = form_of(tables, first, same_row)
    if form == AFFINE:
        a = tables.intercept[tables.piece_start[first]]
        b = tables.slope[tables.piece_start[first]]
        for t in range(steps):
            out[t] = a + b * tokens[t]
    elif form == PLAIN_LINE:
        c = tables.lines[first, 0]
        c0, c1, c2, c3 = c[0], c[1], c[2], c[3]
        for t in range(steps):
            out[t] = c0 + c1 * active[t] + c2 * tiles[t] + c3 * tokens[t]
    else:
        for t in range(steps):
            out[t] = latency_at(tables, row[t], tokens[t], active[t], tiles[t])
