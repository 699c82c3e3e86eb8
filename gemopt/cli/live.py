"""Progress bars on a terminal, nothing in a pipe: of a run, and of counted parts."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gemopt.jit import announce_compiling
from gemopt.run.observer import Observer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn, TaskID

    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.result import Result
    from gemopt.run.stop import Progress

_EVERY_SECONDS = 0.2


def _rich_bar(*columns: ProgressColumn) -> Bar:
    """Make a bar on stderr, removed at its end; `columns` stand before the time."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class LiveBar(Observer):
    """Shows a run on stderr: the used part of its limits, time and best objective.

    Without a limit the bar only moves. It vanishes when the run ends.
    """

    def __init__(
        self, time_limit: float | None = None, iterations: int | None = None
    ) -> None:
        self._limits = time_limit, iterations
        self._shown = -math.inf
        self._solver = ""
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def on_start(self, instance: Instance, solver: str) -> None:
        """Draw the empty bar."""
        from rich.progress import TextColumn

        self._solver = solver
        self._bar = _rich_bar(TextColumn("{task.fields[state]}"))
        announce_compiling(self._compiling)
        total = 1.0 if any(self._limits) else None
        self._task = self._bar.add_task(solver, total=total, state="")
        self._bar.start()

    def _compiling(self) -> None:
        """Say why nothing moves for a while, above the bar."""
        if self._bar is not None:
            self._bar.console.print(
                "gemopt: compiling, once (`gemopt warm-up` does it ahead)",
                markup=False,
                highlight=False,
            )

    def on_progress(self, progress: Progress) -> bool | None:
        """Update the bar a few times a second."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_SECONDS and self._bar and self._task is not None:
            self._shown = now
            best = f"{progress.best:.6g} us" if progress.best < math.inf else "none yet"
            self._bar.update(
                self._task,
                completed=done_fraction(progress, *self._limits),
                state=f"{progress.iteration} iterations, best {best}",
                refresh=True,  # seldom enough, and a short run is seen too
            )
        return None

    def on_best(self, progress: Progress, placement: Placement) -> None:
        """Update the bar."""
        self.on_progress(progress)

    def on_bound(self, done: int, layers: int) -> None:
        """Show the layers whose bound is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                total=layers,
                completed=done,
                description=f"{self._solver}, proving a bound",
                state=f"layer {done + 1} of {layers}",
            )

    def on_end(self, result: Result) -> None:
        """Remove the bar."""
        announce_compiling(None)
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


class CountBar:
    """Shows done parts of planned ones on stderr; nothing unless it is a terminal.

    Parameters
    ----------
    shown
        False draws nothing even on a terminal.
    """

    def __init__(self, shown: bool = True) -> None:
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._shown = shown and sys.stderr.isatty()

    def __enter__(self) -> Self:
        if self._shown:
            from rich.progress import (
                MofNCompleteColumn,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = _rich_bar(
                MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn()
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, text: str) -> None:
        """Begin a new count."""
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(text, total=None)

    def update(self, done: int, planned: int, text: str) -> None:
        """Show `done` of `planned` parts; `planned` may grow."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=planned)

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=sys.stderr)
