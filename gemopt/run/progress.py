"""How a run reports: observers, the trace of improvements, and the monitor."""

from __future__ import annotations

import csv
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gemopt.run.stop import Progress, StopCriterion, StopReason

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.result import Result


class Observer:
    """Callbacks of a run; every method does nothing until overridden.

    All calls come from the thread that called `gemopt.solve`.
    """

    def on_start(self, instance: Instance, solver: str) -> None:
        """Called once before the solver starts."""

    def on_progress(self, progress: Progress) -> bool | None:
        """Called at every poll of the stop criterion; return True to interrupt."""

    def on_best(self, progress: Progress, placement: Placement) -> None:
        """Called at every improvement."""

    def on_end(self, result: Result) -> None:
        """Called once with the final result."""


class TracePoint(NamedTuple):
    """State of a run at an improvement of its objective or bound."""

    elapsed: float  #: seconds
    iteration: int
    best: float  #: us
    bound: float  #: us


@dataclass(frozen=True)
class Trace:
    """Improvements of a run in time order."""

    points: tuple[TracePoint, ...] = ()

    def to_csv(self, path: str | Path) -> None:
        """Write one line per improvement, with a header."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(TracePoint._fields)
            writer.writerows(self.points)

    @classmethod
    def from_csv(cls, path: str | Path) -> Trace:
        """Read what `to_csv` wrote."""
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return cls(tuple(_point(row) for row in rows))

    def to_jsonl(self, path: str | Path) -> None:
        """Write one JSON object per improvement; infinite values become null."""
        lines = [
            json.dumps({k: v if math.isfinite(v) else None for k, v in _items(point)})
            for point in self.points
        ]
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Trace:
        """Read what `to_jsonl` wrote."""
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return cls(tuple(_point(json.loads(line)) for line in lines))


def _items(point: TracePoint) -> list[tuple[str, float]]:
    return list(point._asdict().items())


def _point(row: dict[str, str | float | None]) -> TracePoint:
    def number(key: str, missing: float) -> float:
        value = row[key]
        return missing if value is None else float(value)

    return TracePoint(
        number("elapsed", 0.0),
        int(number("iteration", 0)),
        number("best", math.inf),
        number("bound", -math.inf),
    )


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

    @property
    def elapsed(self) -> float:
        """Seconds since the run started."""
        return time.perf_counter() - self._start

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
