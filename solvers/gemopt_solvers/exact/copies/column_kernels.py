"""Hot loops that list columns: a set of experts on a kind of GPU, with their copies."""

import math

import numpy as np

from gemopt.bounds.steps.capacity import Capacities
from gemopt.bounds.steps.kernels import PRECISION, cost_capacity
from gemopt.jit import inlined, kernel
from gemopt.latency.kernels import latencies_into, share_of
from gemopt.latency.tables import LatencyTables

_LEVELS = 256  #: times at which capacities are looked up, denser near the bound


@kernel
def rest_into(
    caps: Capacities,
    line: np.ndarray,  # [steps] bool
    base: np.ndarray,  # [kinds, steps] us
    per_cost: np.ndarray,  # [kinds, steps] us per unit of cost
    rows: np.ndarray,  # [kinds, steps]
    members: np.ndarray,  # [kinds] GPUs
    total: np.ndarray,  # [steps] cost of all experts
    low: np.ndarray,  # [steps] us, a bound of every step
    slack: np.ndarray,  # [steps] us that a step may take beyond
    out: np.ndarray,  # [kinds, cells + 1, steps] us, written
) -> None:
    """Write what a step takes once a GPU of a kind has all but some of the cost.

    ``out[k, j, t]`` is a time below that at which the other GPUs can take j cells of
    the cost of step t; a cell is ``total[t] / cells``.
    """
    kinds, cells, steps = out.shape
    cells -= 1
    room = np.empty((_LEVELS, kinds))
    for t in range(steps):
        for i in range(_LEVELS):
            limit = low[t] + slack[t] * (i / (_LEVELS - 1.0)) ** 2
            for k in range(kinds):
                room[i, k] = cost_capacity(
                    caps,
                    line[t],
                    base[k, t],
                    per_cost[k, t],
                    rows[k, t],
                    limit,
                    total[t],
                    False,
                )
        for k in range(kinds):
            i = 0
            for j in range(cells + 1):
                need = total[t] * j / cells
                while i < _LEVELS and _too_small(room[i], members, k, need):
                    i += 1
                z = low[t] + slack[t] * (max(i - 1, 0) / (_LEVELS - 1.0)) ** 2
                out[k, j, t] = z * (1.0 - PRECISION)


@inlined
def _too_small(room: np.ndarray, members: np.ndarray, own: int, need: float) -> bool:
    """Tell whether all GPUs but one of kind `own` cannot take `need`."""
    total, late = 0.0, False
    for k in range(room.shape[0]):
        if members[k] > 0 and room[k] < 0.0:
            late = True
        total += (members[k] - (1 if k == own else 0)) * max(room[k], 0.0)
    return late or total < need


@inlined
def _next_copies(copies: np.ndarray, most: int, spare: int, fresh: bool) -> bool:
    """Go to the next numbers of copies of a set's experts; tell whether it exists."""
    size = copies.shape[0]
    if fresh:
        copies[:] = 1
        return True
    extra = 0
    for i in range(size):
        extra += copies[i] - 1
    for i in range(size - 1, -1, -1):
        if copies[i] < most and extra < spare:
            copies[i] += 1
            return True
        extra -= copies[i] - 1
        copies[i] = 1
    return False


@inlined
def _parts(
    tables: LatencyTables,
    row: np.ndarray,  # [steps]
    loads: np.ndarray,  # [experts, steps] int64
    share: np.ndarray,  # [experts, most copies, steps], written
    tile: np.ndarray,  # [experts, most copies, steps], written
) -> None:
    """Write tokens and tiles of one copy of each expert for each number of copies."""
    for e in range(share.shape[0]):
        for r in range(share.shape[1]):
            for t in range(share.shape[2]):
                share[e, r, t] = share_of(loads[e, t], r + 1)
                tile[e, r, t] = math.ceil(share[e, r, t] / tables.tile[row[t]])


@inlined
def _sums(
    member: np.ndarray,  # [size] experts
    held: np.ndarray,  # [size] copies of each
    share: np.ndarray,  # [experts, most copies, steps]
    tile: np.ndarray,  # [experts, most copies, steps]
    cost: np.ndarray,  # [experts, steps]
    tokens: np.ndarray,  # [steps], written
    active: np.ndarray,
    tiles: np.ndarray,
    kept: np.ndarray,
) -> None:
    """Write the sums of a column over its experts."""
    tokens[:] = 0.0
    active[:] = 0.0
    tiles[:] = 0.0
    kept[:] = 0.0
    for i in range(member.shape[0]):
        e, r = member[i], held[i] - 1
        part = 1.0 / held[i]
        for t in range(tokens.shape[0]):
            tokens[t] += share[e, r, t]
            active[t] += 1.0 if share[e, r, t] > 0.0 else 0.0
            tiles[t] += tile[e, r, t]
            kept[t] += cost[e, t] * part


@kernel
def columns_into(
    tables: LatencyTables,
    row: np.ndarray,  # [steps] row of the tables for this kind
    same_row: bool,
    member: np.ndarray,  # [sets, size] experts
    loads: np.ndarray,  # [experts, steps] int64
    cost: np.ndarray,  # [experts, steps] that adds up, see `minorant`
    total: np.ndarray,  # [steps] cost of all experts
    lost: np.ndarray,  # [steps] cost that the other GPUs may lack by rounding
    rest: np.ndarray,  # [cells + 1, steps] us, see `rest_into`
    weights: np.ndarray,  # [steps]
    low: np.ndarray,  # [>= steps] weighted us, a bound of every step
    most: int,  # copies of one expert
    spare: int,  # copies beyond one of all experts together
    limit: float,  # us, totals from here on are of no use
    halt: np.ndarray,  # [1] non-zero asks to end
    mask: np.ndarray,  # [room] int64, written
    copies: np.ndarray,  # [room, experts] int8, 0 for experts not held, written
    time: np.ndarray,  # [room, >= steps] us, weighted, written
) -> int:
    """Write the columns of one kind that may be in a placement below the limit.

    The time of a column is what a step takes at least once the column is placed: the
    latency of its GPU, or what the others need for the cost that it leaves to them.
    Returns how many there are; those beyond the room are not written.
    """
    experts, steps = loads.shape
    size, cells = member.shape[1], rest.shape[0] - 1
    share = np.empty((experts, most, steps))
    tile = np.empty((experts, most, steps))
    _parts(tables, row, loads, share, tile)
    scale = np.where(total > 0.0, cells / np.where(total > 0.0, total, 1.0), 0.0)
    tokens, active, tiles = np.empty(steps), np.empty(steps), np.empty(steps)
    kept, own, many = np.empty(steps), np.empty(steps), 0
    held = np.ones(size, dtype=np.int64)
    for s in range(member.shape[0]):
        if halt[0] != 0:
            break
        fresh = True
        while _next_copies(held, most, spare, fresh):
            fresh = False
            _sums(member[s], held, share, tile, cost, tokens, active, tiles, kept)
            latencies_into(tables, row, same_row, tokens, active, tiles, own)
            least = 0.0
            for t in range(steps):
                left = (total[t] - kept[t] - lost[t]) * scale[t] - 1e-6
                others = rest[int(left) if left > 0.0 else 0, t]
                z = own[t] if own[t] > others else others
                own[t] = z * weights[t]
                least += own[t] if own[t] > low[t] else low[t]
            if least >= limit:
                continue
            if many < mask.shape[0]:
                mask[many] = (1 << member[s]).sum()
                copies[many] = 0
                copies[many][member[s]] = held
                time[many, :steps] = own
                time[many, steps:] = 0.0
            many += 1
    return many
