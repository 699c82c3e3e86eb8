"""Bound A for tiles and active experts: each step's experts flow to the GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gemopt.bounds.steps.assignment_kernels import cheapest, moments
from gemopt.latency.base import CURVE, LINE
from gemopt.latency.tables import LatencyTables, rows_of_steps
from gemopt.model.gpu_classes import GpuClasses
from gemopt.model.instance import Instance
from gemopt.model.placement import SHARE_UNIT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Steps x experts x kinds x counts that are worked on, some 10 s of one core.
MOST_WORK = 40_000_000
_CELLS = 400_000  #: entries of the costs that are worked on at once
_COOLING = np.geomspace(2.0, 0.001, 24)  #: share of an expert's mean cost
_ENTROPY = 0.2  #: share of the temperature that keeps weights positive
_FALL = 0.9  #: share of a weight that one step may take away
_ROUNDING = 1e-11  #: relative, of the sums of one step


@dataclass(frozen=True)
class _Costs:
    """What weights of the two lines and the price of a slot multiply in some steps.

    `each` is the part of all r = 1, 2... copies of an expert, on one kind, ``[2, steps,
    experts, kinds, copies]`` (that of the price is -r); `fixed` that of all GPUs
    ``[steps, kinds, 3]``; `norm` the power of the norm of the weights of a kind
    ``[steps, kinds, 1]``.
    """

    each: Floats
    copies: Floats
    fixed: Floats
    norm: Floats
    members: Floats

    def size(self, x: Floats) -> Floats:
        """Weight of each kind's GPUs together, ``[steps, kinds]``."""
        return self.members * _norm(x[:, :, :2], self.norm)[:, :, 0]


def work(instance: Instance) -> int:
    """Steps x experts x kinds x numbers of copies of a layer, for `MOST_WORK`."""
    kinds = len(instance.classes)
    cells = kinds * instance.num_experts * len(_copies(instance))
    return 0 if (instance.tables.kind == CURVE).all() else instance.num_steps * cells


def _copies(instance: Instance) -> Ints:
    """Numbers of copies that an expert can have, each on a GPU of its own."""
    spare = instance.num_slots - instance.num_experts
    return np.arange(1, min(instance.num_gpus, spare + 1) + 1)


def assignment(instance: Instance, layer: int, bound: Floats) -> Floats:
    """Raise a bound of each step, us ``[steps]``.

    Valid for every instance; it says something of steps where no GPU has a curve in
    tokens, and nothing where `work` exceeds `MOST_WORK`. Let kind k have m_k GPUs with
    s_k slots, and latency at least ``base_k + sum f_ke(r_e)`` over the experts it
    holds, f_ke(r) being the cost of one of r copies of e: exact for active experts,
    tiles and tokens. With weights l_k >= 0, ``sum_k m_k l_k = 1``, and any prices p_k
    of slots, the slowest GPU needs at least

        sum_k m_k (l_k base_k + s_k p_k) + sum_e min_{k, r} r (l_k f_ke(r) - p_k),

    a weighted mean of the GPUs' times, since all slots are full and expert e has r
    copies, each on a GPU of some kind: the dual of the linear program that assigns
    experts to GPUs in fractions. A maximum of two lines has a weight for each, of sum
    l_k; for a smooth one of power q their norm of power q / (q - 1) is l_k (Hoelder).
    Weights and prices come from Newton steps on a smoothed version, cooled down; the
    bound is computed from them in the plain one, whatever they are.
    """
    if work(instance) > MOST_WORK:
        return bound
    kinds = instance.classes
    tables = kinds.tables
    rows = rows_of_steps(tables, instance.step_tokens[layer])
    lined = np.flatnonzero((tables.kind[rows] != CURVE).all(axis=0))
    copies = _copies(instance)
    raised = bound.copy()
    cells = 2 * len(kinds.members) * instance.num_experts * len(copies)
    chunk = max(1, _CELLS // cells)
    for first in range(0, len(lined), chunk):
        steps = lined[first : first + chunk]
        loads = instance.loads[layer][:, steps]
        costs = _costs(kinds, tables, rows[:, steps], loads, copies)
        raised[steps] = np.fmax(raised[steps], _best(costs))
    return raised


def _costs(
    kinds: GpuClasses, tables: LatencyTables, rows: Ints, loads: Ints, copies: Ints
) -> _Costs:
    # As `evaluate` splits: whole multiples of 1 / SHARE_UNIT, rounded down.
    shares = loads.T[:, :, None, None] * SHARE_UNIT // copies
    share = shares / SHARE_UNIT  # [steps, experts, 1, copies]
    lines = tables.lines.copy()
    alone = tables.kind == LINE  # as the maximum of the line and itself
    lines[alone, 1] = lines[alone, 0]
    line = lines[rows.T]  # [steps, kinds, 2, 4]
    active, tile, token = np.moveaxis(line[:, None, :, None, :, 1:], (5, 4), (0, 1))
    each = tile * np.ceil(share / tables.tile[rows.T][:, None, :, None])
    each += active * (share > 0) + token * share
    each *= copies
    members = kinds.members.astype(np.float64)
    base = line[..., 0] * members[:, None]
    room = np.broadcast_to((members * kinds.slots)[:, None], base[:, :, :1].shape)
    power = tables.power[rows.T][:, :, None]
    safe = np.where(power > 0, power, 2.0)
    return _Costs(
        each=each,
        copies=copies.astype(np.float64),
        fixed=np.concatenate([base, room], axis=2),
        norm=np.where(power > 0, safe / (safe - 1), 1.0),
        members=members,
    )


def _best(costs: _Costs) -> Floats:
    """Bound of each step, us ``[steps]``, from weights and prices looked for."""
    m = costs.members
    alone = np.moveaxis(costs.each[..., 0].sum(axis=2), 0, 2) / m.sum()
    even = costs.fixed[:, :, :2] / m[:, None] + alone
    unit = np.maximum(even.max(axis=(1, 2)), 1e-12)
    us = np.ones((len(unit), 1, 3))
    us[:, 0, :2] = unit[:, None]
    costs = replace(
        costs,
        each=costs.each / unit[:, None, None, None],
        fixed=costs.fixed / us,
    )
    x = np.zeros(costs.fixed.shape)
    x[:, :, :2] = 0.5 / m.sum()
    slowest = np.ones(len(unit))
    best = _value(costs, x)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for heat in _COOLING:
            try:
                for _ in range(2):
                    x, slowest = _newton(costs, x, slowest, float(heat))
            except np.linalg.LinAlgError:  # a power near 1 bends too sharply
                break
            best = np.fmax(best, _value(costs, x))
    return np.asarray(best * unit)


def _norm(w: Floats, power: Floats) -> Floats:
    # Of weights over the largest one: powers of thousands belong to maxima of a
    # power near 1, and would underflow.
    most = w.max(axis=2, keepdims=True)
    part = ((w / most) ** power).sum(axis=2, keepdims=True)
    return np.asarray(most * part ** (1 / power))


def _value(costs: _Costs, x: Floats) -> Floats:
    """Bound that weights and prices ``[steps, kinds, 3]`` prove, ``[steps]``."""
    least = cheapest(costs.each, costs.copies, x)
    fixed = x * costs.fixed
    size = np.abs(fixed).sum(axis=(1, 2)) + np.abs(least).sum(axis=1)
    value = fixed.sum(axis=(1, 2)) + least.sum(axis=1) - _ROUNDING * size
    return np.asarray(value / costs.size(x).sum(axis=1))


def _newton(
    costs: _Costs, x: Floats, slowest: Floats, heat: float
) -> tuple[Floats, Floats]:
    """New weights and prices, and the time of the slowest GPU that they suggest.

    One step on the bound with its minimum softened to the temperature of `heat` times
    an expert's mean cost, plus an entropy that keeps the weights positive, on the
    surface where all sizes sum to 1.
    """
    steps, kinds = x.shape[:2]
    cold = heat / costs.fixed[0, :, 2].sum()
    placed, second = moments(costs.each, costs.copies, x, cold)
    flat = placed.reshape(steps, 3 * kinds, -1)
    curved = flat @ flat.transpose(0, 2, 1) / cold
    view = curved.reshape(steps, kinds, 3, kinds, 3)
    on = np.arange(kinds)
    view[:, on, :, on] -= second.transpose(1, 0, 2, 3) / cold
    # The surface bends where a maximum is smooth.
    w, m = x[:, :, :2], costs.members[:, None]
    size = _norm(w, costs.norm)
    share = w / size
    normal = np.zeros_like(x)
    normal[:, :, :2] = m * share ** (costs.norm - 1)
    bend = (costs.norm - 1) * slowest[:, None, None] / size * m
    outer = (bend / m**2)[..., None] * normal[..., :, None] * normal[..., None, :]
    view[:, on, :, on] += outer.transpose(1, 0, 2, 3)
    entropy = _ENTROPY * heat
    own = np.full_like(x, 1e-6 / cold)  # prices may all move together
    own[:, :, :2] = entropy * m / w + bend * share ** (costs.norm - 2)
    all_own = np.arange(3 * kinds)
    curved[:, all_own, all_own] -= own.reshape(steps, -1)
    gain = costs.fixed + placed.sum(axis=3)
    gain[:, :, :2] -= entropy * m * (1 + np.log(w))
    system = np.zeros((steps, 3 * kinds + 1, 3 * kinds + 1))
    system[:, :-1, :-1] = curved
    system[:, :-1, -1] = system[:, -1, :-1] = normal.reshape(steps, -1)
    right = np.zeros((steps, 3 * kinds + 1, 1))
    right[:, :-1, 0] = -gain.reshape(steps, -1)
    found = np.linalg.solve(system, right)[..., 0]
    step = found[:, :-1].reshape(x.shape)
    step[:, :, :2] = np.maximum(step[:, :, :2], -_FALL * w)
    x = x + step
    return x / costs.size(x).sum(axis=1)[:, None, None], np.clip(-found[:, -1], 0.1, 10)
