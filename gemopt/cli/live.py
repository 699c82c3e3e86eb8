"""A progress bar on a terminal; nothing in a pipe."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from gemopt.run.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.result import Result
    from gemopt.run.stop import Progress

_EVERY_SECONDS = 0.2


class LiveBar(Observer):
    """Shows a run on stderr: the used part of its limits, time and best objective.

    Without a limit the bar only moves. It vanishes when the run ends.
    """

    def __init__(
        self, time_limit: float | None = None, iterations: int | None = None
    ) -> None:
        self._limits = time_limit, iterations
        self._shown = -math.inf
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def on_start(self, instance: Instance, solver: str) -> None:
        """Draw the empty bar."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        total = 1.0 if any(self._limits) else None
        self._task = self._bar.add_task(solver, total=total, state="")
        self._bar.start()

    def on_progress(self, progress: Progress) -> bool | None:
        """Renew the bar a few times a second."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_SECONDS and self._bar and self._task is not None:
            self._shown = now
            best = f"{progress.best:.6g} us" if progress.best < math.inf else "none yet"
            self._bar.update(
                self._task,
                completed=done_fraction(progress, *self._limits),
                state=f"{progress.iteration} iterations, best {best}",
            )
        return None

    def on_best(self, progress: Progress, placement: Placement) -> None:
        """Renew the bar."""
        self.on_progress(progress)

    def on_end(self, result: Result) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def done_fraction(
    progress: Progress, time_limit: float | None, iterations: int | None
) -> float:
    """How much of the nearer limit is used up, 0..1; 0 without limits."""
    parts = [0.0]
    if time_limit:
        parts.append(progress.elapsed / time_limit)
    if iterations:
        parts.append(progress.iteration / iterations)
    return min(1.0, max(parts))


def live_observer(
    time_limit: float | None = None, iterations: int | None = None
) -> Observer | None:
    """Make the progress bar if stderr is a terminal."""
    return LiveBar(time_limit, iterations) if sys.stderr.isatty() else None
