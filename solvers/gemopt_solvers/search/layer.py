"""What the stages of the search of one layer work on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.jit import kernel
from gemopt.model.instance import Instance
from gemopt_solvers.search.first.copies import room_of
from gemopt_solvers.search.state.additive_terms import AdditiveTerms, additive_terms
from gemopt_solvers.search.state.build import coarse_state, fine_state
from gemopt_solvers.search.state.latency import refresh_all
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.refresh_loads import refresh_loads
from gemopt_solvers.search.state.state import Seats
from gemopt_solvers.search.state.surrogate import surrogate_lines
from gemopt_solvers.search.state.windows import (
    window_weights_into,
    window_width,
    windows_into,
)


class EvaluationSteps(NamedTuple):
    """Steps on which the placements of one layer are compared."""

    steps: Instance  # of this layer only
    terms: AdditiveTerms
    shared: bool  # lines and terms are those of the trace


class LayerSearch:
    """Scratch memory and present placement of one layer.

    Statistics are those of the trace; placements are compared on it, or on the steps of
    `on` where that is given.

    Attributes
    ----------
    trace
        State on the steps of the trace, from which statistics follow.
    fine, curves
        State on the steps on which placements are compared.
    coarse
        State on windows of the trace, with a line for each GPU.
    mean
        Mean load of one copy of each expert, float64 ``[experts]``.
    best
        Best row so far, int64 ``[slots]``.
    cost
        Its objective in us, good to about 1e-6.
    now
        Objective of the present placement, us.
    """

    def __init__(
        self,
        instance: Instance,
        layer: int,
        terms: AdditiveTerms | None = None,
        on: EvaluationSteps | None = None,
    ) -> None:
        if terms is None:
            terms = additive_terms(instance, layer)
        self.base, self.scale, self.mix = surrogate_lines(instance, layer, terms)
        self.trace, self.curves = fine_state(
            instance, layer, terms, self.scale, self.mix
        )
        self.fine = self.trace
        if on is not None:
            scale, mix = self.scale, self.mix
            if not on.shared:
                _, scale, mix = surrogate_lines(on.steps, 0, on.terms)
            self.fine, self.curves = fine_state(on.steps, 0, on.terms, scale, mix)
        self.weights = instance.weights
        self.num_steps = instance.num_steps
        self.width = window_width(instance.num_steps)
        windows = -(-instance.num_steps // self.width)
        self.coarse = coarse_state(instance.num_experts, instance.slots, windows)
        window_weights_into(self.weights, self.width, self.coarse.times.weights)
        self.room = room_of(instance.slots)
        self.mean = np.empty(instance.num_experts)
        self.best = np.zeros(instance.num_slots, dtype=np.int64)
        self.cost = np.inf
        self.now = np.inf

    @property
    def gpus(self) -> int:
        """GPUs."""
        return len(self.base)

    @property
    def has_copies(self) -> bool:
        """There are more slots than experts."""
        return len(self.best) > len(self.mean)

    @property
    def mean_latency(self) -> float:
        """Latency of a step now, on average, us."""
        return self.now / float(self.weights.sum())

    def fill_windows(self) -> None:
        """Average the loads of the trace, at their present copies, into windows."""
        load = self.trace.loads.load[0]
        if len(self.trace.loads.load) > 1:
            load = np.tensordot(self.mix.astype(np.float32), self.trace.loads.load, 1)
        windows_into(load, self.weights, self.width, self.coarse.loads.load[0])

    def single_copies(self) -> None:
        """Bring loads and windows of the trace to one copy of each expert."""
        self.trace.seats.replicas[:] = 1
        refresh_loads(self.trace.loads, self.trace.seats.replicas)
        self.fill_windows()

    def fill_statistics(self) -> None:
        """Fill the moments by which exchanges are ranked, for single copies."""
        self.single_copies()
        load = self.coarse.loads.load[0]
        moments_into(
            load, self.coarse.times.weights, self.fine.loads.moment,
            np.empty((load.shape[1], len(load)), dtype=np.float32),
        )  # fmt: skip

    def take(self, row: Ints) -> None:
        """Take a placement as the present one."""
        adopt(self.fine.seats, row)
        refresh_loads(self.fine.loads, self.fine.seats.replicas)
        self.evaluate()

    def evaluate(self) -> None:
        """Compute latencies anew; keep the placement if it is the best so far."""
        self.keep(refresh_all(self.fine, self.curves))

    def keep(self, cost: float) -> None:
        """Note what the present placement costs; keep it if it is the best so far."""
        self.now = cost
        if cost < self.cost:
            self.cost = cost
            self.best[:] = self.fine.seats.phy2log


@kernel
def adopt(seats: Seats, row: Ints) -> None:
    """Set who sits where; loads and latencies are left stale."""
    experts, gpus = seats.held.shape
    for e in range(experts):
        seats.replicas[e] = 0
        for g in range(gpus):
            seats.held[e, g] = False
    for g in range(gpus):
        for s in range(seats.first[g], seats.first[g + 1]):
            seats.phy2log[s] = row[s]
            seats.held[row[s], g] = True
            seats.replicas[row[s]] += 1
