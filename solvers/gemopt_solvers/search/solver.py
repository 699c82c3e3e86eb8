"""The default solver: statistics first, then descent and annealing on the objective."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Floats, Ints
from gemopt.cost.evaluate import evaluate
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.layers import run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt.run.stop import StopReason
from gemopt_solvers.search.bounded_moves.move_budget import spend_moves
from gemopt_solvers.search.bounded_moves.start_limits import MoveLimits
from gemopt_solvers.search.first.trivial import nothing_to_gain
from gemopt_solvers.search.pipeline import Pipeline
from gemopt_solvers.search.place_counts import place_counts, place_loads
from gemopt_solvers.search.presets import PRESETS


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

    @staticmethod
    def place_arrays(
        counts: ArrayLike,
        slots: Ints,
        *,
        base_us: Floats,
        us_per_token: Floats,
        start: Ints | None = None,
        max_moves: int | None = None,
    ) -> Ints:
        """Place by preset ``fast``, or spend a number of moves on `start`."""
        if start is None or max_moves is None:
            return place_counts(
                counts, slots, base_us=base_us, us_per_token=us_per_token
            )
        lines = [affine(b, r) for b, r in zip(base_us, us_per_token, strict=True)]
        instance = Instance.from_arrays(counts, lines, slots=slots)
        return spend_moves(instance, Placement(start, slots), max_moves)

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
        run = Pipeline(instance, preset, seed, limits)
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
