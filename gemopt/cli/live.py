"""A progress line on a terminal; nothing in a pipe."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from gemopt.progress import Observer

if TYPE_CHECKING:
    from gemopt.model import Instance, Placement
    from gemopt.result import Result
    from gemopt.stop import Progress

_EVERY_SECONDS = 0.2


class LiveLine(Observer):
    """Shows seconds, iterations and the best objective of a run on stderr."""

    def __init__(self, time_limit: float | None = None) -> None:
        self._limit = time_limit
        self._shown = 0.0
        self._solver = ""
        self._written = False

    def on_start(self, instance: Instance, solver: str) -> None:
        """Remember which solver runs."""
        self._solver = solver

    def on_progress(self, progress: Progress) -> bool | None:
        """Renew the line a few times a second."""
        now = time.monotonic()
        if now - self._shown >= _EVERY_SECONDS:
            self._shown = now
            self._write(progress)
        return None

    def on_best(self, progress: Progress, placement: Placement) -> None:
        """Renew the line."""
        self.on_progress(progress)

    def on_end(self, result: Result) -> None:
        """Clear the line."""
        if self._written:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _write(self, progress: Progress) -> None:
        best = f"{progress.best:.6g} us" if math.isfinite(progress.best) else "none yet"
        limit = "" if self._limit is None else f" of {self._limit:g}"
        text = (
            f"{self._solver}: {progress.elapsed:.1f}{limit} s, "
            f"{progress.iteration} iterations, best {best}"
        )
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        self._written = True


def live_observer(time_limit: float | None = None) -> Observer | None:
    """Make the progress line if stderr is a terminal."""
    return LiveLine(time_limit) if sys.stderr.isatty() else None
