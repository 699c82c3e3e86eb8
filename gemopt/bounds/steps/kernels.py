"""Hot loops of the one-step bounds."""

import math

import numpy as np

from gemopt.bounds.steps.capacity import Capacities
from gemopt.jit import inlined, kernel
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.kernels import row_at
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


@inlined
def cost_capacity(
    caps: Capacities,
    line: bool,
    base: float,
    per_cost: float,
    row: int,
    limit: float,
    most: float,
    whole: bool,
) -> float:
    """Largest total cost that fits one GPU within `limit` us; -1 if nothing does."""
    if not line:
        return whole_capacity(caps, row, limit, most, whole)
    if base > limit:
        return -1.0
    return min(most, (limit - base) / per_cost) * (1.0 + PRECISION) + PRECISION


@kernel
def _holds(
    caps: Capacities,
    line: bool,
    base: np.ndarray,  # [kinds]
    per_cost: np.ndarray,  # [kinds]
    row: np.ndarray,  # [kinds]
    members: np.ndarray,  # [kinds]
    slots: np.ndarray,  # [kinds]
    lightest: np.ndarray,  # [experts + 1] cost of the i lightest experts
    limit: float,
    whole: bool,
    deepest: int,  # largest number of heavy experts looked at
) -> bool:
    """Tell whether counting heavy experts lets `limit` pass."""
    experts = lightest.shape[0] - 1
    kinds = members.shape[0]
    room = np.empty(kinds)
    total = 0.0
    for k in range(kinds):
        room[k] = cost_capacity(
            caps, line, base[k], per_cost[k], row[k], limit, lightest[experts], whole
        )
        if room[k] < lightest[slots[k]]:
            return False  # not even the lightest experts fit
        total += members[k] * room[k]
    if total < lightest[experts] * (1.0 - PRECISION):
        return False
    for heavy in range(deepest, 0, -1):
        first = experts - heavy  # the heavy ones are first..experts-1 by weight
        count = 0
        for k in range(kinds):
            low, high = 0, min(slots[k], heavy)
            while low < high:  # the more heavy experts, the larger the sum
                middle = (low + high + 1) // 2
                least = lightest[first + middle] - lightest[first]
                least += lightest[min(slots[k] - middle, first)]
                fits = slots[k] - middle <= first and least <= room[k]
                # Too few light experts exist: it must hold more heavy ones.
                if fits or slots[k] - middle > first:
                    low = middle
                else:
                    high = middle - 1
            count += members[k] * low
        if count < heavy:
            return False
    return True


@kernel
def count_heavy_into(
    caps: Capacities,
    line: np.ndarray,  # [steps] bool
    base: np.ndarray,  # [kinds, steps]
    per_cost: np.ndarray,  # [kinds, steps]
    rows: np.ndarray,  # [kinds, steps]
    members: np.ndarray,  # [kinds]
    slots: np.ndarray,  # [kinds]
    cost: np.ndarray,  # [steps, experts]
    whole: bool,
    bound: np.ndarray,  # [steps] us, a valid bound; raised in place
) -> None:
    """Raise the bound of each step by counting where its heavy experts can go."""
    steps, experts = cost.shape
    deepest = min(experts, 4 * members.sum())
    lightest = np.zeros(experts + 1)
    for t in range(steps):
        lightest[1:] = np.cumsum(np.sort(cost[t]))
        low = bound[t]
        args = (base[:, t], per_cost[:, t], rows[:, t])
        if _holds(
            caps, line[t], args[0], args[1], args[2], members, slots, lightest,
            low * (1.0 + PRECISION), whole, deepest,
        ):  # fmt: skip
            continue
        step = 0.01 * low + 1e-3
        high = low + step
        while not _holds(
            caps, line[t], args[0], args[1], args[2], members, slots, lightest, high,
            whole, deepest,
        ):  # fmt: skip
            low, step = high, 2.0 * step
            high = low + step
        while high - low > 10.0 * PRECISION * high:
            middle = 0.5 * (low + high)
            if _holds(
                caps, line[t], args[0], args[1], args[2], members, slots, lightest,
                middle, whole, deepest,
            ):  # fmt: skip
                high = middle
            else:
                low = middle
        bound[t] = low


@kernel
def line_into(
    caps: Capacities,
    row: int,
    bound: float,
    working: float,
    most: float,
    out: np.ndarray,  # [2] capacity at `bound`, capacity gained per us; written
) -> None:
    """Write a line above the capacity of a GPU for every time from `bound` on.

    The edge at `working` us of the convex lower hull of max(latency, bound).
    """
    best = np.inf
    for c in range(caps.row_curve[row], caps.row_curve[row + 1]):
        x0 = whole_capacity(caps, row, bound, most, False)
        x0 = max(x0, 0.0)
        hull_x = [x0]
        hull_y = [bound]
        for i in range(caps.curve_piece[c], caps.curve_piece[c + 1]):
            if caps.end[i] <= x0 or caps.begin[i] >= most:
                continue
            first, last = max(caps.begin[i], x0), min(caps.end[i], most)
            # Where the piece crosses the bound, max(latency, bound) has a corner too.
            slope = caps.slope[i]
            corner = (bound - caps.intercept[i]) / slope if slope != 0.0 else first
            for x in (first, min(max(corner, first), last), last):
                y = max(bound, caps.intercept[i] + slope * x)
                while len(hull_x) > 1 and (y - hull_y[-2]) * (
                    hull_x[-1] - hull_x[-2]
                ) <= (hull_y[-1] - hull_y[-2]) * (x - hull_x[-2]):
                    hull_x.pop()
                    hull_y.pop()
                if x > hull_x[-1]:
                    hull_x.append(x)
                    hull_y.append(y)
                elif y < hull_y[-1]:
                    hull_y[-1] = y
        edge = 1
        while edge < len(hull_x) - 1 and hull_y[edge] < working:
            edge += 1
        if len(hull_x) == 1 or hull_y[edge] <= hull_y[edge - 1]:
            continue
        rate = (hull_x[edge] - hull_x[edge - 1]) / (hull_y[edge] - hull_y[edge - 1])
        start = hull_x[edge] - rate * (hull_y[edge] - bound)
        if start + rate * (working - bound) < best:
            best = start + rate * (working - bound)
            out[0], out[1] = start * (1.0 + PRECISION) + PRECISION, rate
    if best == np.inf:
        out[0], out[1] = most, 0.0
