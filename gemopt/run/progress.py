"""The monitor: what a solver reports to while it runs, and who tells it to stop."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gemopt.jit import compile_seconds
from gemopt.run.improvements import TracePoint
from gemopt.run.observer import Observer
from gemopt.run.stop import Progress, StopCriterion, StopReason

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement


class Heuristic(Protocol):
    """Finds a good placement quickly, on the steps as they are; None without one."""

    def __call__(
        self,
        instance: Instance,
        *,
        seed: int,
        stop: StopCriterion | None = None,
        thorough: bool = False,
    ) -> Placement | None: ...


def no_heuristic(
    instance: Instance,
    *,
    seed: int,
    stop: StopCriterion | None = None,
    thorough: bool = False,
) -> Placement | None:
    """Find nothing: a `Heuristic` for runs outside `gemopt.solve`."""
    return None


@dataclass
class Monitor:
    """What a solver talks to while it runs: reports go in, the stop order comes out.

    `heuristic` finds placements for solvers that need one to start from. Only the
    thread that runs `Solver.solve` may report, or ask whether to stop.
    """

    stop: StopCriterion
    observer: Observer = field(default_factory=Observer)
    keep_trace: bool = True
    heuristic: Heuristic = no_heuristic
    iteration: int = 0
    best: float = math.inf
    bound: float = -math.inf
    best_iteration: int = 0
    placement: Placement | None = None
    points: list[TracePoint] = field(default_factory=list)
    _start: float = field(default_factory=time.perf_counter)
    _compiled: float = field(default_factory=compile_seconds)

    @property
    def elapsed(self) -> float:
        """Seconds since the run started, compiling left out."""
        return max(0.0, time.perf_counter() - self._start - self.compiling)

    @property
    def compiling(self) -> float:
        """Seconds that kernels took to compile since the run started."""
        return compile_seconds() - self._compiled

    @property
    def progress(self) -> Progress:
        """The state that stop criteria and observers see."""
        return Progress(
            self.iteration, self.elapsed, self.best, self.bound, self.best_iteration
        )

    def improved(self, objective: float, placement: Placement) -> None:
        """Report a placement; ignored unless it is better than the best so far."""
        if objective >= self.best:
            return
        self.best, self.placement = objective, placement
        self.best_iteration = self.iteration
        self._record()
        self.observer.on_best(self.progress, placement)

    def bounded(self, bound: float) -> None:
        """Report a proven lower bound in us; ignored unless it is better."""
        if bound > self.bound:
            self.bound = bound
            self._record()

    def stop_reason(self, iteration: int) -> StopReason | None:
        """Say that `iteration` iterations are done; return why to stop, or None."""
        self.iteration = iteration
        progress = self.progress
        if self.observer.on_progress(progress):
            return StopReason.INTERRUPTED
        return self.stop(progress)

    def _record(self) -> None:
        if self.keep_trace:
            point = TracePoint(self.elapsed, self.iteration, self.best, self.bound)
            self.points.append(point)
