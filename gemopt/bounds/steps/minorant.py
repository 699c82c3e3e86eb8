"""Linear lower bounds on the latency of every GPU at every step of one layer.

Every stronger bound needs loads that add up over experts. Here each latency family is
put into that form once: a cost of every expert at every step, and for every GPU a line
below its true latency, in the total cost of the experts that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gemopt.bounds.steps.capacity import Capacities, compile_capacities
from gemopt.latency.base import CURVE
from gemopt.latency.tables import LatencyTables, rows_of_steps
from gemopt.model.gpu_classes import GpuClasses
from gemopt.model.instance import Instance
from gemopt.model.placement import SHARE_UNIT

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


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

    kinds: GpuClasses
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
    proportional share a mean cost; what differs goes into their bases. Steps with a
    token curve on any GPU count tokens on all of them.
    """
    kinds = instance.classes
    tables = kinds.tables
    loads = instance.loads[layer].T.astype(np.float64)
    rows = rows_of_steps(tables, instance.step_tokens[layer])
    lined = (tables.kind[rows] != CURVE).all(axis=0)
    cost = loads.copy()
    base = np.zeros(rows.shape)
    per_cost = np.zeros(rows.shape)
    lost = np.zeros(len(loads))
    copies = min(instance.num_gpus, instance.num_slots - instance.num_experts + 1)
    for t in np.flatnonzero(lined):
        own = [
            _expert_costs(tables, int(rows[k, t]), loads[t], instance, int(slots))
            for k, slots in enumerate(kinds.slots)
        ]
        costs = np.array([c for _, c in own])
        if costs.sum(axis=1).min() <= 0:
            lined[t] = False
            continue
        cost[t], per_cost[:, t], spread = _in_common(costs, kinds, copies)
        base[:, t] = spread + np.array([b for b, _ in own])
        used = loads[t] > 0
        a_token = (costs[:, used] / loads[t, used]).max(axis=1)
        lost[t] = np.max(a_token / per_cost[:, t])
    replicas = copies > 1
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


def _expert_costs(
    tables: LatencyTables, row: int, loads: Floats, instance: Instance, slots: int
) -> tuple[float, Floats]:
    """Base and cost of every expert, in us, of the line that stands for a row.

    With replicas each copy of an active expert is active, while only a share of an
    expert's cost counts for it: where few experts are idle, the active ones that must
    fill a GPU's slots are put into the base.
    """
    tile, gpus = tables.tile[row], instance.num_gpus
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
    active = features[0].sum()
    at_least = max(0.0, slots - (len(loads) - active))
    if instance.num_slots > instance.num_experts and at_least * gpus > active:
        line[0] += at_least * line[1]
        line[1] = 0.0
    return float(line[0]), np.asarray(line[1:] @ features)


def _in_common(
    costs: Floats, kinds: GpuClasses, copies: int
) -> tuple[Floats, Floats, Floats]:
    """One cost of each expert ``[E]``, its rate on each kind, and what bases gain.

    What is left of ``costs[k]`` after the common part, of either sign, adds up over the
    experts that fill a GPU's slots: at least the sum of as many of the smallest, each
    halved and so on where it is positive and its expert may have more copies.
    """
    mean = costs.mean(axis=1)
    common = (costs / mean[:, None]).mean(axis=0) * mean[0]
    used = common > 0
    rates, spread = np.zeros(len(costs)), np.zeros(len(costs))
    for k, cost in enumerate(costs):
        ratio = cost[used] / common[used]
        middle = float((cost @ common) / (common @ common))
        slots = int(kinds.slots[k])
        load = common.sum() * slots / (kinds.members @ kinds.slots)
        best = -np.inf
        for rate in {float(ratio.min()), middle, float(mean[k] / common.mean())}:
            left = cost - rate * common
            left = np.sort(np.where(left > 0, left / copies, left))[:slots].sum()
            if rate > 0 and rate * load + left > best:
                best = rate * load + left
                rates[k], spread[k] = rate, left
    return common, rates, spread
