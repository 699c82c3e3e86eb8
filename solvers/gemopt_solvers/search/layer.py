"""The search of one layer: several first placements, descent, iterated search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gemopt.arrays import Ints
from gemopt.jit import kernel
from gemopt.model.instance import Instance
from gemopt_solvers.search.first.construct import (
    BLUR,
    LEAST,
    deal_copies,
    place_windows,
)
from gemopt_solvers.search.first.copies import room_into
from gemopt_solvers.search.moves.anneal import DRAWS, anneal
from gemopt_solvers.search.moves.descent import descend, mark_all
from gemopt_solvers.search.presets import Preset
from gemopt_solvers.search.state.additive_terms import Fold, fold
from gemopt_solvers.search.state.build import coarse_state, fine_state
from gemopt_solvers.search.state.latency import refresh_all
from gemopt_solvers.search.state.moments import moments_into
from gemopt_solvers.search.state.refresh_loads import refold_all
from gemopt_solvers.search.state.state import State
from gemopt_solvers.search.state.surrogate import surrogate_lines
from gemopt_solvers.search.state.windows import (
    window_weights_into,
    window_width,
    windows_into,
)

CHUNK = 5e7  #: nanoseconds, roughly, of one kernel call


class Judge(NamedTuple):
    """Steps on which the placements of one layer are compared."""

    steps: Instance  # of this layer only
    folded: Fold
    shared: bool  # lines and terms are those of the trace


class LayerSearch:
    """Scratch memory and present placement of one layer.

    Statistics are those of the trace; placements are judged on it, or on the steps of
    `judge` where that is given.

    Attributes
    ----------
    best
        Best row so far, int64 ``[slots]``.
    cost
        Its objective in us, good to about 1e-6.
    """

    def __init__(
        self,
        instance: Instance,
        layer: int,
        preset: Preset,
        folded: Fold | None = None,
        judge: Judge | None = None,
    ) -> None:
        if folded is None:
            folded = fold(instance, layer)
        self.base, self.scale, self.mix = surrogate_lines(instance, layer, folded)
        self.preset = preset
        self.trace = fine_state(instance, layer, folded, self.scale, self.mix)
        self.fine = self.trace
        if judge is not None:
            scale, mix = self.scale, self.mix
            if not judge.shared:
                _, scale, mix = surrogate_lines(judge.steps, 0, judge.folded)
            self.fine = fine_state(judge.steps, 0, judge.folded, scale, mix)
        self.weights = instance.weights
        self.width = window_width(instance.num_steps)
        windows = -(-instance.num_steps // self.width)
        self.coarse = coarse_state(
            instance.num_experts, instance.slots, windows, instance.tables
        )
        window_weights_into(self.weights, self.width, self.coarse.weights)
        self.room = np.zeros(instance.num_gpus + 1, dtype=np.int64)
        room_into(instance.slots, self.room)
        self.best = np.zeros(instance.num_slots, dtype=np.int64)
        self.cost = np.inf
        self.now = np.inf

    def construct(self, z: float) -> None:
        """Place by windows, copies dealt by mean + z sd; keep it if it is better."""
        trace, coarse = self.trace, self.coarse
        gpus, experts = coarse.latency.shape[0], len(trace.replicas)
        count = coarse.weights.shape[0]
        mean, need = np.empty(experts), np.empty(experts)
        trace.replicas[:] = 1
        refold_all(trace)
        self._windows()
        deal_copies(coarse, z, self.room, mean, need)
        trace.replicas[:] = coarse.replicas
        if len(self.best) > experts:
            refold_all(trace)
            self._windows()
            mean = coarse.load[0] @ (coarse.weights / coarse.weights.sum(dtype=float))
        place_windows(
            coarse, self.base, self.scale, mean.astype(np.float64),
            np.empty((count, experts), dtype=np.float32),
            np.empty((gpus, experts), dtype=np.float32),
            self.preset.sweeps,
            self.preset.window_looks(gpus, len(self.best), count),
            self.preset.tries,
        )  # fmt: skip
        adopt(self.fine, coarse.phy2log)
        if self.fine is not trace:
            refold_all(self.fine)
        self.fine.moment[:] = coarse.moment
        self._keep(refresh_all(self.fine))

    def statistics(self) -> None:
        """Fill the moments by which exchanges are ranked, for single copies."""
        self.trace.replicas[:] = 1
        refold_all(self.trace)
        self._windows()
        load = self.coarse.load[0]
        turned = np.empty((load.shape[1], len(load)), dtype=np.float32)
        moments_into(load, self.coarse.weights, self.fine.moment, turned)

    def load_row(self, row: Ints) -> None:
        """Take a placement as the present one."""
        adopt(self.fine, row)
        refold_all(self.fine)
        self._keep(refresh_all(self.fine))

    def first(self) -> Iterator[None]:
        """Place with copies dealt in several ways; improve the best of them."""
        dealt = len(self.best) > len(self.fine.replicas)
        for z in self.preset.z if dealt else self.preset.z[:1]:
            self.construct(z)
            yield
        if len(self.preset.z) > 1 and dealt:
            self.load_row(self.best.copy())
        yield from self.descend()

    def descend(self) -> Iterator[None]:
        """Improve the present placement until no exchange tried gains."""
        mark_all(self.fine)
        gpus, steps = self.fine.latency.shape
        preset, slots = self.preset, len(self.best)
        looks = preset.looks(preset.step_work, gpus, slots, steps)
        chunk = preset.looks(CHUNK, gpus, slots, steps) + 1
        while looks > 0:
            cost, looked = descend(
                self.fine, self.now, self._blur, LEAST * self.now, preset.tries,
                min(chunk, looks),
            )  # fmt: skip
            self._keep(cost)
            if looked < min(chunk, looks):
                return
            looks -= looked
            yield

    def anneal(
        self, rng: np.random.Generator, proposals: int, hot: float, cold: float
    ) -> None:
        """Anneal from `hot` to `cold`, in parts of the mean latency of a step."""
        step = self.now / float(self.weights.sum())
        draws = rng.random((proposals, DRAWS))
        now, lowest = anneal(
            self.fine, self.now, hot * step, cold * step, draws,
            rng.standard_exponential(proposals), self.best, self.cost,
        )  # fmt: skip
        self.now, self.cost = now, lowest

    @property
    def _blur(self) -> float:
        return BLUR * self.now / float(self.weights.sum())

    def _windows(self) -> None:
        load = self.trace.load[0]
        if len(self.trace.load) > 1:
            load = np.tensordot(self.mix.astype(np.float32), self.trace.load, 1)
        windows_into(load, self.weights, self.width, self.coarse.load[0])

    def _keep(self, cost: float) -> None:
        self.now = cost
        if cost < self.cost:
            self.cost = cost
            self.best[:] = self.fine.phy2log


@kernel
def adopt(state: State, row: Ints) -> None:
    """Set the placement of a state; loads and latencies are left stale."""
    state.phy2log[:] = row
    state.replicas[:] = 0
    state.held[:] = False
    for g in range(state.latency.shape[0]):
        for s in range(state.first[g], state.first[g + 1]):
            state.held[row[s], g] = True
            state.replicas[row[s]] += 1
