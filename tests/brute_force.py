"""Exhaustive oracle for tiny instances, with replicas and unequal slots.

Uses only `LatencyModel.us`: no kernel, no solver.
"""

from collections.abc import Iterator
from itertools import combinations, product

import numpy as np

from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.twins import share

Row = tuple[tuple[int, ...], ...]


def feasible_rows(num_experts: int, slots: np.ndarray) -> Iterator[Row]:
    """Every way to give each GPU a set of experts so that none is left out."""
    choices = [list(combinations(range(num_experts), int(k))) for k in slots]
    for row in product(*choices):
        if len({e for held in row for e in held}) == num_experts:
            yield row


def best_placement(instance: Instance) -> tuple[Placement, float]:
    """Return an optimal placement and its objective in us; layer by layer."""
    rows, total = [], 0.0
    for layer in range(instance.num_layers):
        row, cost = _best_row(instance, layer)
        rows.append([e for held in row for e in held])
        total += cost
    return Placement(np.array(rows, dtype=np.int64), instance.slots), total


def _best_row(instance: Instance, layer: int) -> tuple[Row, float]:
    experts = instance.num_experts
    known: dict[tuple[int, tuple[int, ...], tuple[int, ...]], np.ndarray] = {}

    def latency(gpu: int, held: tuple[int, ...], copies: np.ndarray) -> np.ndarray:
        key = (gpu, held, tuple(copies[list(held)].tolist()))
        if key not in known:
            loads = instance.loads[layer, list(held)]
            shares = share(loads, copies[list(held)][:, None]).T
            steps = instance.step_tokens[layer]
            known[key] = instance.latency[gpu].us(shares, steps)
        return known[key]

    best, best_cost = None, np.inf
    for row in feasible_rows(experts, instance.slots):
        copies = np.bincount([e for held in row for e in held], minlength=experts)
        slowest = np.max([latency(g, held, copies) for g, held in enumerate(row)], 0)
        cost = float((slowest * instance.weights).sum())
        if cost < best_cost:
            best, best_cost = row, cost
    if best is None:
        raise ValueError("no feasible placement")
    return best, best_cost
