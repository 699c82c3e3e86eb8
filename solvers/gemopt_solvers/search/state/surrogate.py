"""Lines that stand in for the latency of GPUs, for statistics and the first placement.

Where latency is a line already they are exact on average. Elsewhere the line is fitted
to the latency of a GPU that gets between half and one and a half times its mean load.
"""

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.jit import kernel
from gemopt.latency.base import CURVE
from gemopt.latency.tables import LatencyTables
from gemopt.model.instance import Instance
from gemopt_solvers.search.state.additive_terms import AdditiveTerms, expert_terms_into
from gemopt_solvers.search.state.latency import finished

RANGE = np.linspace(0.5, 1.5, 11)  #: multiples of the mean load that are fitted


def surrogate_lines(
    instance: Instance, layer: int, additive: AdditiveTerms
) -> tuple[Floats, Floats, Floats]:
    """Fit one line to each GPU.

    Returns
    -------
    tuple
        Base in us ``[gpus]``, us per unit of load ``[gpus]``, and the weight of each
        stream or term in that load.
    """
    weights = instance.weights / instance.weights.sum()
    rows = additive.term_row if additive.curved else additive.stream_row
    tokens = instance.loads[layer]
    total = np.zeros((len(rows), instance.num_steps))
    for k, row in enumerate(rows):
        _add_experts(tokens, additive.coef, row, total[k])
    if not additive.curved:
        mean = total @ weights
        mix = np.bincount(additive.stream, minlength=len(rows)) / instance.num_gpus
        load = float(mix @ mean)
        ratio = mean / load if load > 0 else np.ones(len(rows))
        base = additive.base[:, : instance.num_steps] @ weights
        return base, additive.scale * ratio[additive.stream], mix
    return _fitted(instance, additive, total, weights)


def _fitted(
    instance: Instance, additive: AdditiveTerms, total: Floats, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    gpus, tables = instance.num_gpus, instance.tables
    share = instance.slots / instance.num_slots
    latency = np.empty((gpus, len(RANGE)))
    for g in range(gpus):
        for i, factor in enumerate(RANGE):
            latency[g, i] = _mean_latency(
                tables,
                additive.row[g],
                additive.term[g],
                total * share[g] * factor,
                weights,
            )
    mix = np.zeros(len(total))
    for g in range(gpus):
        first, second = (int(k) for k in additive.term[g])
        curve = tables.kind[additive.row[g]] == CURVE
        mean = max(float(total[first] @ weights) * share[g], 1e-9)
        rise = (latency[g, -1] - latency[g, 0]) / (RANGE[-1] - RANGE[0]) / mean
        mix[first] += max(rise, 0.0) if curve.any() else 1.0
        if second >= 0:
            mix[second] += 1.0
    if mix.sum() == 0.0:
        mix[0] = 1.0
    mix /= gpus
    load = float(mix @ (total @ weights))
    centred = RANGE - RANGE.mean()
    slope = latency @ centred / (centred @ centred)
    scale = np.maximum(slope, 0.0) / np.maximum(load * share, 1e-9)
    return latency.mean(axis=1) - slope.clip(min=0.0), scale, mix


@kernel
def _add_experts(tokens: Ints, coef: Floats, rows: Ints, total: Floats) -> None:
    single = np.empty(total.shape[0])
    for e in range(tokens.shape[0]):
        expert_terms_into(tokens, e, 1, coef, rows, single)
        for t in range(total.shape[0]):
            total[t] += single[t]


@kernel
def _mean_latency(
    tables: LatencyTables, row: Ints, term: Ints, total: Floats, weights: Floats
) -> float:
    result = 0.0
    for t in range(weights.shape[0]):
        second = total[term[1], t] if term[1] >= 0 else 0.0
        result += weights[t] * finished(tables, row[t], total[term[0], t], second)
    return result
