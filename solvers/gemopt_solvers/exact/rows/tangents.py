"""Tangent planes of a smooth maximum, added where a found placement shows a gap."""

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import evaluate
from gemopt.latency.base import TWO_LINES
from gemopt.model.placement import Placement
from gemopt_solvers.exact.rows.model import (
    Model,
    add_time,
    line_costs,
    shares_at,
)


def is_smooth(m: Model) -> bool:
    """Tell whether some GPU's latency is a smooth maximum."""
    return bool(((m.tables.kind == TWO_LINES) & (m.tables.power > 0)).any())


def add_tangents(m: Model, phy2log: Ints) -> int:
    """Add the planes that touch the latencies of a placement; return how many."""
    instance = m.instance.layer(m.layer)
    cost = evaluate(instance, Placement(phy2log[None], instance.slots))
    copies = np.bincount(phy2log, minlength=instance.num_experts)
    added = 0
    for step in np.flatnonzero(instance.weights > 0):
        shares = shares_at(m, int(step))
        for g in range(instance.num_gpus):
            row = int(m.ruling[m.kinds.of_gpu[g], step])
            power = float(m.tables.power[row])
            slow = cost.per_gpu[step, 0, g] >= 0.98 * cost.per_step[step, 0]
            if m.tables.kind[row] != TWO_LINES or power == 0 or not slow:
                continue
            costs = line_costs(m.tables, row, shares)
            held = phy2log[instance.slot2gpu == g]
            at = m.tables.lines[row, :, 0].copy()
            for e in held:
                at += costs[:, e, copies[e] - 1]
            if at.max() <= 0:
                continue
            ratio = at / at.max()
            mix = (ratio / (ratio**power).sum() ** (1 / power)) ** (power - 1)
            base = float(mix @ m.tables.lines[row, :, 0])
            add_time(m, int(step), g, base, np.tensordot(mix, costs, axes=1))
            added += 1
    return added
