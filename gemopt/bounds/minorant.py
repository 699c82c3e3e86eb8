"""Linear lower bounds on the latency of every GPU at every step of one layer.

Every stronger bound needs loads that add up over experts. Here each latency family is
put into that form once: a cost of every expert at every step, and for every GPU a line
below its true latency, in the total cost of the experts that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gemopt.bounds.capacity import Capacities, compile_capacities
from gemopt.latency.base import CURVE, LatencyModel
from gemopt.latency.tables import LatencyTables, compile_tables
from gemopt.model import SHARE_UNIT, Instance

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Kinds:
    """GPUs grouped by equal latency and equal slots.

    Attributes
    ----------
    of_gpu
        Kind of each GPU, int64 ``[gpus]``.
    models
        Latency model of each kind.
    members, slots
        GPUs of each kind and slots of each of them, int64 ``[kinds]``.
    """

    of_gpu: Ints
    models: tuple[LatencyModel, ...]
    members: Ints
    slots: Ints

    @classmethod
    def of(cls, instance: Instance) -> Kinds:
        """Group the GPUs of `instance`; kinds count up by first appearance."""
        pairs = list(zip(instance.gpu2class, instance.slots, strict=True))
        order = {pair: None for pair in pairs}
        names = {pair: k for k, pair in enumerate(order)}
        of_gpu = np.array([names[pair] for pair in pairs], dtype=np.int64)
        first = [pairs.index(pair) for pair in order]
        return cls(
            of_gpu=of_gpu,
            models=tuple(instance.latency[g] for g in first),
            members=np.bincount(of_gpu).astype(np.int64),
            slots=instance.slots[first],
        )


@dataclass(frozen=True)
class Minorant:
    """What one layer costs at least, in a form that adds up over experts.

    Attributes
    ----------
    cost
        Cost of each expert, ``[steps, experts]``: tokens, or us of the first kind.
    line
        ``line[t]`` is True where kind k is bounded by
        ``base[k, t] + per_cost[k, t] * cost``; elsewhere by its curves in tokens.
    base, per_cost
        Line of each kind, us and us per unit of cost, ``[kinds, steps]``.
    rows
        Row of each kind's latency tables at each step, int64 ``[kinds, steps]``.
    lost
        Cost that rounding of replicas' shares may take from one GPU, ``[steps]``.
    whole
        Costs are whole tokens wherever `line` is False.
    caps
        Curves in tokens of the kinds.
    """

    kinds: Kinds
    cost: Floats
    line: NDArray[np.bool_]
    base: Floats
    per_cost: Floats
    rows: Ints
    lost: Floats
    whole: bool
    caps: Capacities

    def kept(self, steps: NDArray[np.bool_]) -> Minorant:
        """Return the minorant of some of the steps, a mask ``[steps]``."""
        return replace(
            self,
            cost=self.cost[steps],
            line=self.line[steps],
            base=self.base[:, steps],
            per_cost=self.per_cost[:, steps],
            rows=self.rows[:, steps],
            lost=self.lost[steps],
        )


def minorant(instance: Instance, layer: int) -> Minorant:
    """Build the minorant of one layer.

    A line in active experts, tiles and tokens is already additive: a replica's part is
    at least its share of the expert's cost, since ``r * ceil(n / (r tile))`` is at
    least ``ceil(n / tile)``. A larger-of-two-lines gives the line that is higher at an
    even split, a smooth maximum its tangent plane there. GPUs whose costs are not
    proportional get the smallest ratio. Steps with a token curve on any GPU count
    tokens on all of them.
    """
    kinds = Kinds.of(instance)
    tables = compile_tables(kinds.models)
    loads = instance.loads[layer].T.astype(np.float64)
    tokens = instance.step_tokens[layer].astype(np.float64)
    rows = np.array(
        [
            [
                _row(tables.max_step_tokens, int(a), int(b), total)
                for total in tokens.tolist()
            ]
            for a, b in zip(tables.gpu_row[:-1], tables.gpu_row[1:], strict=True)
        ],
        dtype=np.int64,
    )
    lined = (tables.kind[rows] != CURVE).all(axis=0)
    cost = loads.copy()
    base = np.zeros(rows.shape)
    per_cost = np.zeros(rows.shape)
    lost = np.zeros(len(tokens))
    for t in np.flatnonzero(lined):
        own = [
            _expert_costs(tables, int(rows[k, t]), loads[t], instance.num_gpus)
            for k in range(len(rows))
        ]
        reference = own[0][1]
        used = reference > 0
        ratio = [float((c[used] / reference[used]).min(initial=1.0)) for _, c in own]
        if not used.any() or min(ratio) <= 0:
            lined[t] = False
            continue
        cost[t], per_cost[:, t] = reference, ratio
        base[:, t] = [b for b, _ in own]
        lost[t] = np.max(reference[used] / loads[t, used])
    replicas = instance.num_slots > instance.num_experts
    share = float(instance.slots.max()) / SHARE_UNIT if replicas else 0.0
    return Minorant(
        kinds=kinds,
        cost=cost,
        line=lined,
        base=base,
        per_cost=per_cost,
        rows=rows,
        lost=share * np.where(lined, lost, 1.0),
        whole=not replicas,
        caps=compile_capacities(kinds.models),
    )


def _row(limits: Floats, first: int, end: int, tokens: float) -> int:
    inside = limits[first:end]
    return first + min(int(np.searchsorted(inside, tokens)), end - first - 1)


def _expert_costs(
    tables: LatencyTables, row: int, loads: Floats, gpus: int
) -> tuple[float, Floats]:
    """Base and cost of every expert, in us, of the line that stands for a row."""
    tile = tables.tile[row]
    features = np.stack([loads > 0, np.ceil(loads / tile), loads])
    lines = tables.lines[row]
    even = lines[:, 0] + lines[:, 1:] @ features.sum(axis=1) / gpus
    mix = np.zeros(2)
    power = tables.power[row]
    if power > 0 and even.max() > 0:
        # Gradient of (m**q + c**q)**(1/q): convex and homogeneous, so the plane
        # through the origin with this slope lies below it everywhere.
        ratio = even / even.max()
        mix = (ratio / (ratio**power).sum() ** (1 / power)) ** (power - 1)
    else:
        mix[int(np.argmax(even))] = 1.0
    line = mix @ lines
    return float(line[0]), np.asarray(line[1:] @ features)
