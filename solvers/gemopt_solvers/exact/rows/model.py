"""The exact model of one layer: 0-1 variables, linear rows, guarded rows.

``held[e, g]`` says that GPU g holds expert e. With replicas, ``copies[e, r]`` says that
e has r + 1 copies and ``split[e, g, r]`` that one of them is on g; a GPU's tokens,
active experts and tiles are then linear in `split` (in `held` without replicas).
Every latency family becomes rows ``z_t >= constant + sum(us * variable)``:

- a line, or an affine curve: one row per GPU and step; the larger of two lines: two;
- a smooth maximum of two lines: tangent planes, added where they are found wrong;
- a staircase that never falls: one level for each kind of GPU, under which all loads
  of that kind must fit;
- any other curve (dips, several slopes): one 0-1 variable per GPU, step and piece.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.tables import LatencyTables, rows_of_steps
from gemopt.model.instance import Instance
from gemopt.model.placement import SHARE_UNIT

Terms = list[tuple[int, float]]  #: (variable, coefficient)
MAX_TERMS = 6_000_000  #: about 2 GB in either back end


@dataclass
class Row:
    """``low <= sum(coefficient * variable) <= high``, in whole numbers.

    With a guard the row holds only when that 0-1 variable is 1.
    """

    terms: Terms
    low: float
    high: float
    guard: int | None = None


@dataclass
class TimeRow:
    """``z[step] >= constant + sum(us * variable)``, when the guard (if any) is 1."""

    step: int
    constant: float
    terms: Terms
    guard: int | None = None


@dataclass
class Model:
    """A layer's model. Variables are 0-1 and numbered; z is apart, one per step."""

    instance: Instance
    layer: int
    bound: NDArray[np.float64]  #: one-step lower bound, us [steps]
    known: float  #: objective of the hint, us
    max_moves: int | None
    start: Ints | None
    held: Ints = field(init=False)  #: [experts, gpus] variable numbers
    split: Ints = field(init=False)  #: [experts, gpus, copies] variable numbers
    copies: Ints = field(init=False)  #: [experts, copies] variable numbers, -1 without
    count: int = 0
    rows: list[Row] = field(default_factory=list)
    times: list[TimeRow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kinds = self.instance.classes
        self.tables = self.kinds.tables
        self.ruling = rows_of_steps(
            self.tables, self.instance.step_tokens[self.layer]
        )  # [classes, steps] row of the tables
        self.most = most_copies(self.instance)
        _place(self)
        _break_symmetry(self)
        for step in np.flatnonzero(self.instance.weights > 0):
            _time(self, int(step))

    def new(self, many: int) -> Ints:
        """Number `many` further 0-1 variables."""
        self.count += many
        return np.arange(self.count - many, self.count)


def most_copies(instance: Instance) -> int:
    """Largest number of copies that an expert can have."""
    spare = instance.num_slots - instance.num_experts
    return min(int((instance.slots > 0).sum()), spare + 1)


def pieced(instance: Instance) -> NDArray[np.bool_]:
    """Tell which rows of the latency tables are curves of several pieces."""
    tables = instance.tables
    return (tables.kind == CURVE) & (np.diff(tables.piece_start) > 1)


def estimated_terms(instance: Instance) -> int:
    """About how many coefficients the model of one layer will have."""
    tables = instance.tables
    pieces = np.diff(tables.piece_start)
    per_row = np.where(tables.kind == CURVE, np.minimum(pieces, 64), 2).max()
    replicas = most_copies(instance)
    size = instance.num_experts * instance.num_gpus * replicas
    return int(instance.num_steps * (size + instance.num_gpus * 4 * per_row))


def _place(m: Model) -> None:
    """Slots filled, experts placed, replicas counted, moves limited."""
    instance, most = m.instance, m.most
    experts, gpus = instance.num_experts, instance.num_gpus
    m.held = m.new(experts * gpus).reshape(experts, gpus)
    m.copies = np.full((experts, most), -1)
    m.split = m.held[:, :, None]
    for g in range(gpus):
        total = int(instance.slots[g])
        m.rows.append(Row([(v, 1.0) for v in m.held[:, g]], total, total))
    if most == 1:
        for e in range(experts):
            m.rows.append(Row([(v, 1.0) for v in m.held[e]], 1, 1))
    else:
        m.copies = m.new(experts * most).reshape(experts, most)
        m.split = m.new(experts * gpus * most).reshape(experts, gpus, most)
        for e in range(experts):
            m.rows.append(Row([(v, 1.0) for v in m.copies[e]], 1, 1))
            for r in range(most):
                many = [(v, 1.0) for v in m.split[e, :, r]]
                m.rows.append(Row([*many, (m.copies[e, r], -(r + 1.0))], 0, 0))
            for g in range(gpus):
                parts = [(v, 1.0) for v in m.split[e, g]]
                m.rows.append(Row([*parts, (m.held[e, g], -1.0)], 0, 0))
                for r in range(most):
                    pair = [(m.split[e, g, r], 1.0), (m.copies[e, r], -1.0)]
                    m.rows.append(Row(pair, -1, 0))
    if m.max_moves is not None and m.start is not None:
        kept = [
            (m.held[e, g], 1.0) for e, g in zip(m.start, instance.slot2gpu, strict=True)
        ]
        m.rows.append(Row(kept, len(kept) - m.max_moves, len(kept)))


def heavy_order(instance: Instance, layer: int) -> Ints:
    """Experts by falling load."""
    total = instance.loads[layer] @ instance.weights
    return np.argsort(-total, kind="stable")


def _break_symmetry(m: Model) -> None:
    """The i-th heaviest expert may open at most the i-th GPU of each kind."""
    if m.most > 1 or m.max_moves is not None:
        return
    order = heavy_order(m.instance, m.layer)
    for kind in range(len(m.kinds.members)):
        alike = np.flatnonzero(m.kinds.of_gpu == kind)
        for i, expert in enumerate(order[: len(alike)]):
            for gpu in alike[i + 1 :]:
                m.rows.append(Row([(m.held[expert, gpu], 1.0)], 0, 0))


def renamed(m: Model, row: Ints) -> Ints:
    """Rename GPUs of a kind so that a placement obeys the broken symmetry."""
    if m.most > 1 or m.max_moves is not None:
        return row
    instance = m.instance
    ends = np.cumsum(instance.slots)
    parts = [row[b - s : b] for b, s in zip(ends, instance.slots, strict=True)]
    rank = np.empty(instance.num_experts, dtype=np.int64)
    rank[heavy_order(instance, m.layer)] = np.arange(instance.num_experts)
    for kind in range(len(m.kinds.members)):
        alike = np.flatnonzero(m.kinds.of_gpu == kind)
        opened = sorted(
            (parts[g] for g in alike), key=lambda p: int(rank[p].min(initial=1 << 40))
        )
        for g, part in zip(alike, opened, strict=True):
            parts[g] = part
    return np.concatenate(parts)


def shares_at(m: Model, step: int) -> NDArray[np.float64]:
    """Tokens of one copy, ``[experts, copies]``."""
    loads = m.instance.loads[m.layer, :, step]
    count = np.arange(1, m.most + 1)
    return (loads[:, None] * SHARE_UNIT // count) / SHARE_UNIT


def _time(m: Model, step: int) -> None:
    shares = shares_at(m, step)
    level: dict[int, Ints] = {}
    for g in range(m.instance.num_gpus):
        kind = int(m.kinds.of_gpu[g])
        row = int(m.ruling[kind, step])
        if m.tables.kind[row] != CURVE:
            _lines(m, step, g, row, shares)
        else:
            _curve(m, step, g, row, shares, level)


def line_costs(
    tables: LatencyTables, row: int, shares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cost of one copy under both lines, us ``[2, experts, copies]``."""
    tiles = np.ceil(shares / tables.tile[row])
    features = np.stack([shares > 0, tiles, shares])
    return np.tensordot(tables.lines[row][:, 1:], features, axes=1)


def _lines(m: Model, step: int, g: int, row: int, shares: NDArray[np.float64]) -> None:
    costs = line_costs(m.tables, row, shares)
    for i in range(1 if m.tables.kind[row] == LINE else 2):
        base = float(m.tables.lines[row, i, 0])
        add_time(m, step, g, base, costs[i])


def add_time(
    m: Model, step: int, g: int, base: float, cost: NDArray[np.float64]
) -> None:
    """Add the row of one GPU whose latency is linear, costs ``[experts, copies]``."""
    used = zip(m.split[:, g].ravel().tolist(), cost.ravel().tolist(), strict=True)
    m.times.append(TimeRow(step, base, [(v, c) for v, c in used if c > 0]))


def _curve(
    m: Model,
    step: int,
    g: int,
    row: int,
    shares: NDArray[np.float64],
    level: dict[int, Ints],
) -> None:
    tables, kind = m.tables, int(m.kinds.of_gpu[g])
    first, end = tables.piece_start[row], tables.piece_start[row + 1]
    a, b = tables.intercept[first:end], tables.slope[first:end]
    if end - first == 1:
        add_time(m, step, g, float(a[0]), b[0] * shares)
        return
    begin = np.concatenate([[-1.0], tables.upto[first : end - 1]])
    most = float(np.sort(shares[:, 0])[::-1][: m.instance.slots[g]].sum())
    keep = begin < most
    begin, a, b = begin[keep], a[keep], b[keep]
    upto = np.minimum(tables.upto[first:end][keep], most)
    unit = 1 if m.most == 1 else SHARE_UNIT
    load = [
        (v, float(round(s * unit)))
        for v, s in zip(m.split[:, g].ravel().tolist(), shares.ravel(), strict=True)
        if s > 0
    ]
    stairs = bool((b == 0).all() and (np.diff(a) >= 0).all())
    if stairs and kind in level:
        pieces = level[kind]
    else:
        pieces = m.new(len(a))
        m.rows.append(Row([(v, 1.0) for v in pieces], 1, 1))
        for i, piece in enumerate(pieces.tolist()):
            terms = [(v, float(b[i]) * c / unit) for v, c in load] if b[i] else []
            m.times.append(TimeRow(step, float(a[i]), terms, guard=piece))
        if stairs:
            level[kind] = pieces
    for i, piece in enumerate(pieces.tolist()):
        low = 0.0 if stairs or i == 0 else np.floor(begin[i] * unit) + 1
        m.rows.append(Row(load, low, np.floor(upto[i] * unit), guard=piece))
