"""The default solver: statistics first, then descent and annealing on the objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.layers import BestRows, layer_rng, run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt.run.stop import StopReason
from gemopt_solvers.joint import joint_rows
from gemopt_solvers.search.bounded_moves.start_limits import MoveLimits
from gemopt_solvers.search.evaluation_steps.evaluation_steps import (
    JudgedRows,
    Judging,
)
from gemopt_solvers.search.first.trivial import nothing_to_gain
from gemopt_solvers.search.layer import LayerSearch
from gemopt_solvers.search.place_counts import place_loads
from gemopt_solvers.search.presets import PRESETS, Preset
from gemopt_solvers.search.state.additive_terms import fold, line_of

CHUNK = 2_000_000  #: proposals times steps of one kernel call, well below 0.2 s

# Where every pair of slots is proposed this often in a round, rounds start hotter and
# hotter: small instances have few but deep valleys.
REPEATS = 50
HEATS = (1.0, 4.0, 16.0, 64.0)

_JOINT = 1  # key of the random numbers of rows for compute and communication


@dataclass(frozen=True)
class SearchParams:
    """Options of `Search`.

    Parameters
    ----------
    preset
        ``"fast"`` (inside an engine's loop), ``"default"``, ``"best"`` (offline), or
        ``"long"`` (100 times the annealing of ``"best"``, 2-10 s a layer: for the
        least objective of given steps, with `resample` False).
    max_moves
        With a start: most slots of a layer that may change; None for no limit.
    move_us
        With a start: price of a changed slot, us of objective over the whole trace. A
        change that gains less than it costs is not made.
    min_gain
        With a start: part of a layer's objective that must be gained, else the layer
        keeps its start.
    resample
        Compare placements on resampled steps (see `evaluation_steps.resample`), so that
        they do well on steps to come. False finds the least objective of the given
        steps themselves, which is what a bound or a list of best known values is about.
    """

    preset: str = "default"
    max_moves: int | None = None
    move_us: float = 0.0
    min_gain: float = 0.0
    resample: bool = True

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            known = ", ".join(PRESETS)
            raise ValueError(f"preset = {self.preset!r} is unknown; known: {known}")
        if self.max_moves is not None and self.max_moves < 0:
            raise ValueError(f"max_moves = {self.max_moves} must be >= 0")
        if not 0.0 <= self.move_us < np.inf:
            raise ValueError(f"move_us = {self.move_us} must be a number >= 0")
        if not 0.0 <= self.min_gain < 1.0:
            raise ValueError(f"min_gain = {self.min_gain} must be in [0, 1)")


class Search:
    """Copies by volatility, quadratic exchanges, true exchanges, annealing.

    Ours. ``docs/search.md`` says what each part does and what it is worth. Takes every
    latency family, unequal GPUs and slots, copies, step weights and communication.
    """

    name: ClassVar[str] = "search"
    summary: ClassVar[str] = "measured latency, whole trace and copies together (ours)"
    exact: ClassVar[bool] = False
    Params = SearchParams

    def __init__(self, params: SearchParams) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """Every instance is supported."""
        return None

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Search layer by layer, a round of all layers at a time."""
        reason = nothing_to_gain(instance)
        if reason is not None:
            return _settled(instance, monitor, start, reason)
        limits = None
        if start is not None:
            p = self.params
            limits = MoveLimits(instance, start, p.max_moves, p.move_us, p.min_gain)
        preset = PRESETS[self.params.preset]
        if not self.params.resample:
            preset = replace(preset, entries=0)
        run = _Run(instance, preset, seed, limits)
        try:
            stop = run_rounds(
                run.work, run.best, monitor=monitor, jobs=jobs, rounds=run.rounds
            )
        finally:
            run.best.report(monitor)
        complete = bool(np.isfinite(run.best.objective).all())
        return Outcome(
            run.best.placement if complete else monitor.placement,
            stop,
            iterations=monitor.iteration,
            stats={"preset": self.params.preset},
        )


def _settled(
    instance: Instance, monitor: Monitor, start: Placement | None, why: str
) -> Outcome:
    """Answer with any placement: all cost the same."""
    placement = start
    if placement is None:
        rows = place_loads(
            instance.loads, instance.weights, instance.slots,
            np.ones(instance.num_gpus), np.ones(instance.num_gpus),
        )  # fmt: skip
        placement = Placement(rows, instance.slots)
    cost = evaluate(instance, placement).objective
    monitor.improved(cost, placement)
    return Outcome(
        placement, StopReason.PROVEN, lower_bound=cost, stats={"nothing_to_gain": why}
    )


class _Run:
    """What the rounds of one solve share."""

    def __init__(
        self, instance: Instance, preset: Preset, seed: int, limits: MoveLimits | None
    ) -> None:
        self.instance, self.preset, self.seed = instance, preset, seed
        self.limits = limits
        self.judging = Judging(instance, preset.cells(instance.num_experts), seed)
        self.best: BestRows = JudgedRows(instance)
        if limits is not None:
            self.best = BestRows.of(instance, limits.start)
        near = limits is not None and limits.binding
        self.proposals = preset.proposals_a_round(
            instance.num_slots, self.judging.num_steps
        )
        still = near or self.proposals == 0
        self.rounds = 1 if still else 1 + preset.rounds
        lines = [line_of(instance.tables, r) for r in range(len(instance.tables.kind))]
        plain = all(line is not None and line[1] == line[2] == 0.0 for line in lines)
        one_row = len(lines) == instance.num_gpus
        # Only step-dependent rows (`Regimes`) make layers fold in different ways.
        self.folded = fold(instance, 0) if one_row else None
        self.first: Ints | None = None
        quick = preset.rounds == preset.entries == 0 and len(preset.z) == 1
        if quick and plain and one_row:
            base = np.array([line[0] for line in lines if line])
            scale = np.array([line[3] for line in lines if line])
            self.first = place_loads(
                instance.loads, instance.weights, instance.slots, base, scale
            )

    def work(self, layer: int, done: int) -> Iterator[None]:
        """One round of one layer."""
        if done == 0 and self.first is not None:
            self._offer(layer, self.first[layer])
            yield
            if self.instance.comm is not None:
                yield from self._joint(layer, self.first[layer], done)
            return
        judge = self.judging.of(layer, self.folded is not None)
        search = LayerSearch(self.instance, layer, self.preset, self.folded, judge)
        if done == 0:
            yield from search.first()
        else:
            search.statistics()
            search.load_row(self.best.phy2log[layer])
            yield from self._anneal(search, layer, done)
        self._offer(layer, search.best, None if judge is None else search.cost)
        if self.instance.comm is not None:
            yield from self._joint(layer, search.best, done)

    def _joint(self, layer: int, start: Ints, done: int) -> Iterator[None]:
        """Offer rows that are good for compute and communication together."""
        rng = layer_rng(self.seed, int(self.instance.layer_ids[layer]), done, _JOINT)
        for row in joint_rows(self.instance, layer, start, rng):
            if row is not None:
                self._offer(layer, row)
            yield

    def _anneal(self, search: LayerSearch, layer: int, done: int) -> Iterator[None]:
        preset, steps = self.preset, self.instance.num_steps
        rng = layer_rng(self.seed, int(self.instance.layer_ids[layer]), done)
        proposals = self.proposals
        chunk = max(1, min(proposals, CHUNK // (steps + 16)))
        pieces = -(-proposals // chunk)
        hot = preset.hot
        if proposals >= REPEATS * self.instance.num_slots**2:
            hot *= HEATS[(done - 1) % len(HEATS)]
        heat = np.geomspace(hot, preset.cold, pieces + 1)
        for i in range(pieces):
            search.anneal(rng, chunk, heat[i], heat[i + 1])
            yield
        search.load_row(search.best.copy())
        yield from search.descend()

    def _offer(self, layer: int, row: Ints, judged: float | None = None) -> None:
        """Keep a row that is better, where it was `judged` on other steps: there."""
        limits, best = self.limits, self.best
        if limits is None:
            if judged is None:
                one = self.instance.layer(layer)
                placement = Placement(row[None], self.instance.slots)
                judged = evaluate(one, placement).objective
            best.offer(layer, row, judged)
            return
        rows = [limits.aligned(layer, row)]
        if limits.binding:
            rows.append(limits.near_row(layer))
        before = limits.cost(layer, limits.start.phy2log[layer])
        held = limits.price(layer, best.phy2log[layer], float(best.objective[layer]))
        for trial in rows:
            cost = limits.cost(layer, trial)
            price = limits.price(layer, trial, cost)
            if price < held and cost <= before * (1.0 - limits.min_gain):
                best.phy2log[layer], best.objective[layer], held = trial, cost, price
