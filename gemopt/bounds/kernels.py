"""Hot loops of the one-step bounds."""

import math

import numpy as np

from gemopt.bounds.capacity import Capacities
from gemopt.kernels.jit import inlined, kernel
from gemopt.kernels.latency import row_at
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.tables import LatencyTables

#: Bisections end when their two ends differ by this share; the lower end is kept.
PRECISION = 1e-10
#: Added to capacities, in tokens, so that rounding never makes them too small.
SLACK = 1e-7


@kernel
def capacity(caps: Capacities, row: int, limit: float, most: float) -> float:
    """Largest tokens <= `most` with latency <= `limit` us; -1 if even none is late."""
    result = most
    for c in range(caps.row_curve[row], caps.row_curve[row + 1]):
        first, last = caps.curve_piece[c], caps.curve_piece[c + 1] - 1
        if caps.lowest[first] > limit:
            return -1.0
        low, high = first, last  # the last piece that dips to `limit`
        while low < high:
            middle = (low + high + 1) // 2
            if caps.lowest[middle] <= limit:
                low = middle
            else:
                high = middle - 1
        tokens = caps.end[low]
        if caps.slope[low] > 0.0:
            tokens = min(tokens, (limit - caps.intercept[low]) / caps.slope[low])
            tokens = max(tokens, caps.begin[low])
        result = min(result, tokens)
    return result


@inlined
def whole_capacity(
    caps: Capacities, row: int, limit: float, most: float, whole: bool
) -> float:
    """`capacity` with tolerance, rounded down to whole tokens where asked."""
    tokens = capacity(caps, row, limit, most)
    if tokens < 0.0:
        return -1.0
    tokens += SLACK
    return math.floor(tokens) if whole else tokens


@kernel
def _fits(
    caps: Capacities,
    rows: np.ndarray,  # [classes] row of each class at this step
    members: np.ndarray,  # [classes] GPUs of the class
    limit: float,
    tokens: float,
    whole: bool,
) -> bool:
    total = 0.0
    for c in range(rows.shape[0]):
        one = whole_capacity(caps, rows[c], limit, tokens, whole)
        if one < 0.0:
            return False
        total += members[c] * one
    return total >= tokens


@kernel
def _filled(
    caps: Capacities, rows: np.ndarray, members: np.ndarray, tokens: float, whole: bool
) -> float:
    """Largest time found within which the GPUs cannot take `tokens`, in us."""
    low = 0.0
    for c in range(rows.shape[0]):
        for curve in range(caps.row_curve[rows[c]], caps.row_curve[rows[c] + 1]):
            low = max(low, caps.lowest[caps.curve_piece[curve]])
    if tokens <= 0.0 or _fits(caps, rows, members, low, tokens, whole):
        return low
    high = 2.0 * low + 1.0
    while not _fits(caps, rows, members, high, tokens, whole):
        low, high = high, 2.0 * high
    while high - low > PRECISION * high:
        middle = 0.5 * (low + high)
        if _fits(caps, rows, members, middle, tokens, whole):
            high = middle
        else:
            low = middle
    return low


@kernel
def _line_bound(
    tables: LatencyTables,
    rows: np.ndarray,
    members: np.ndarray,
    tokens: float,
    active: float,
    tiles: float,
    which: int,  # line 0 or 1 of every class, or 2: the higher one of each
) -> float:
    """Weighted mean of the GPUs' lines, weights inverse to a GPU's time for it all."""
    classes = rows.shape[0]
    gpus = members.sum()
    chosen = np.zeros((classes, 4))
    work = np.empty(classes)
    scale = 0.0
    for c in range(classes):
        best = -1.0
        for i in range(1 if tables.kind[rows[c]] == LINE else 2):
            a = tables.lines[rows[c], i]
            all_of_it = a[1] * active + a[2] * tiles + a[3] * tokens
            share = a[0] + all_of_it / gpus
            if (which == 2 and share > best) or i == which or i == 0:
                best, work[c] = share, all_of_it
                chosen[c] = a
        if work[c] <= 0.0:
            return 0.0
        scale += members[c] / work[c]
    base, per = 0.0, np.full(3, np.inf)
    for c in range(classes):
        weight = 1.0 / (work[c] * scale)
        base += members[c] * weight * chosen[c, 0]
        for i in range(3):
            per[i] = min(per[i], weight * chosen[c, i + 1])
    return base + per[0] * active + per[1] * tiles + per[2] * tokens


@kernel
def _features_into(
    tables: LatencyTables,
    rows: np.ndarray,  # [classes, steps]
    loads: np.ndarray,  # [experts, steps]
    tile: np.ndarray,  # [steps], written; 0 where a class is a token curve
    active: np.ndarray,  # [steps], written
    tiles: np.ndarray,  # [steps], written
) -> None:
    """Write active experts and tiles of the largest tile of any class."""
    active[:] = 0.0
    tiles[:] = 0.0
    for t in range(tile.shape[0]):
        tile[t] = 1.0
        for c in range(rows.shape[0]):
            tile[t] = max(tile[t], tables.tile[rows[c, t]])
    for e in range(loads.shape[0]):
        for t in range(tile.shape[0]):
            active[t] += 1.0 if loads[e, t] > 0 else 0.0
            tiles[t] += math.ceil(loads[e, t] / tile[t])
    for t in range(tile.shape[0]):
        for c in range(rows.shape[0]):
            if tables.kind[rows[c, t]] == CURVE:
                tile[t] = 0.0


@kernel
def water_fill_into(
    tables: LatencyTables,  # of the classes
    caps: Capacities,
    members: np.ndarray,  # [classes] GPUs of each class
    loads: np.ndarray,  # [layers, experts, steps] int64
    step_tokens: np.ndarray,  # [layers, steps] int64
    lost: float,  # tokens that rounding of shares may lose
    whole: bool,  # shares are whole tokens
    out: np.ndarray,  # [layers, steps] us
) -> None:
    """Write the water-filling bound of every layer and step."""
    layers, steps = step_tokens.shape
    classes = members.shape[0]
    rows = np.empty((classes, steps), dtype=np.int64)
    tile, active, tiles = np.empty(steps), np.empty(steps), np.empty(steps)
    choices = 0  # of the line that stands for a GPU
    for kind in tables.kind:
        choices = max(choices, 0 if kind == CURVE else 1 if kind == LINE else 3)
    for layer in range(layers):
        totals = step_tokens[layer]
        for t in range(steps):
            for c in range(classes):
                rows[c, t] = row_at(tables, c, float(totals[t]))
            # Layers mostly share their totals: look up before computing.
            if layer > 0 and step_tokens[layer - 1, t] == totals[t]:
                out[layer, t] = out[layer - 1, t]
            elif t > 0 and totals[t - 1] == totals[t]:
                out[layer, t] = out[layer, t - 1]
            else:
                left = max(0.0, totals[t] - lost)
                out[layer, t] = _filled(caps, rows[:, t], members, left, whole)
    for layer in range(layers if choices else 0):
        totals = step_tokens[layer]
        for t in range(steps):
            for c in range(classes):
                rows[c, t] = row_at(tables, c, float(totals[t]))
        _features_into(tables, rows, loads[layer], tile, active, tiles)
        for t in range(steps):
            if tile[t] > 0.0:
                left = max(0.0, totals[t] - lost)
                for which in range(choices):
                    bound = _line_bound(
                        tables, rows[:, t], members, left, active[t], tiles[t], which
                    )
                    out[layer, t] = max(out[layer, t], bound * (1.0 - PRECISION))
