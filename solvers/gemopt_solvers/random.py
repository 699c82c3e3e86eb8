"""Random placements: what no thought at all achieves."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import layer_cost
from gemopt.cost.incremental import LayerState
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.bases import BaseSolver
from gemopt.run.layers import BestRows, layer_rng, run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome


@dataclass(frozen=True)
class RandomParams:
    """Options of `Random`.

    Parameters
    ----------
    draws
        Placements drawn for each layer, of which the best is kept.
    """

    draws: int = 100

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws = {self.draws} must be >= 1")


class Random(BaseSolver):
    """Best of some random placements; each iteration draws one for every layer.

    Without replicas every placement is equally likely. With them the first copies lie
    at random and every further slot takes a random expert that its GPU lacks.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "the best of some random placements"
    Params = RandomParams

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Draw until the monitor says stop or all draws are done."""
        best = BestRows(instance)
        ids = instance.layer_ids.tolist()

        def draw(layer: int, turn: int) -> Iterator[None]:
            rng = layer_rng(seed, ids[layer], turn)
            row = random_row(rng, instance.num_experts, instance.slot2gpu)
            best.offer(layer, row, _cost(instance, layer, row))
            yield

        for layer in range(instance.num_layers):
            for _ in draw(layer, 0):
                pass
        reason = run_rounds(
            lambda layer, done: draw(layer, done + 1),
            best,
            monitor=monitor,
            jobs=jobs,
            rounds=self.params.draws - 1,
        )
        return Outcome(best.placement, reason, iterations=monitor.iteration)


def _cost(instance: Instance, layer: int, row: Ints) -> float:
    """Objective of a row, us."""
    if instance.comm is None:
        return LayerState(instance, layer, row).objective
    return layer_cost(instance, layer, row)


def random_row(rng: np.random.Generator, num_experts: int, slot2gpu: Ints) -> Ints:
    """Draw a feasible row, int64 ``[slots]``; every feasible row can come out."""
    row = np.full(len(slot2gpu), -1, dtype=np.int64)
    places = rng.permutation(len(row))
    row[places[:num_experts]] = rng.permutation(num_experts)
    for slot in places[num_experts:]:
        lacks = np.ones(num_experts, dtype=np.bool_)
        held = row[slot2gpu == slot2gpu[slot]]
        lacks[held[held >= 0]] = False
        row[slot] = rng.choice(np.flatnonzero(lacks))
    return row
