"""A start placement that the answer must stay near."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import layer_cost
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.align import align
from gemopt_solvers.search.bounded_moves.descent import best_per_move_descent
from gemopt_solvers.search.first.construct import BLUR, LEAST
from gemopt_solvers.search.layer import LayerSearch

CHANGES = 8  #: of each slot, at most; descent ends long before


@dataclass(frozen=True)
class MoveLimits:
    """How far the answer may be from `start`, layer by layer; see `SearchParams`."""

    instance: Instance
    start: Placement
    max_moves: int | None
    move_us: float
    min_gain: float

    @property
    def binding(self) -> bool:
        """Moves are limited or priced."""
        return self.max_moves is not None or self.move_us > 0.0

    def aligned(self, layer: int, row: Ints) -> Ints:
        """Reorder `row` at no cost so that few slots differ from the start."""
        instance = self.instance
        groups = instance.gpu2class * instance.num_nodes + instance.gpu2node
        start = self.start.phy2log[layer][None]
        return align(start, row[None], instance.slots, groups=groups)[0]

    def moves(self, layer: int, row: Ints) -> int:
        """Slots of `row` that differ from the start."""
        return int((row != self.start.phy2log[layer]).sum())

    def price(self, layer: int, row: Ints, cost: float) -> float:
        """Cost of an aligned `row` with its moves, us; inf where it has too many."""
        moves = self.moves(layer, row)
        if self.max_moves is not None and moves > self.max_moves:
            return np.inf
        return cost + self.move_us * moves

    def improved_start(self, layer: int) -> Ints:
        """Improve the start by the changes that pay most, within the limits."""
        search = LayerSearch(self.instance, layer)
        search.fill_statistics()
        search.take(self.start.phy2log[layer])
        slots = self.instance.num_slots
        most = slots if self.max_moves is None else self.max_moves
        best_per_move_descent(
            search.fine, search.curves, BLUR * search.mean_latency,
            LEAST * search.now, self.move_us, most, search.fine.seats.held.copy(),
            slots**2, np.empty((CHANGES * slots, 4), np.int64),
            np.empty(CHANGES * slots),
        )  # fmt: skip
        return self.aligned(layer, search.fine.seats.phy2log.copy())

    def cost(self, layer: int, row: Ints) -> float:
        """Objective of one layer, us."""
        return layer_cost(self.instance, layer, row)
