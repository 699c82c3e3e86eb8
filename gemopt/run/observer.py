"""Callbacks of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemopt.run.stop import Progress

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

    def on_bound(self, done: int, layers: int) -> None:
        """Called after the search, before the bound of each layer."""

    def on_end(self, result: Result) -> None:
        """Called once with the final result."""
