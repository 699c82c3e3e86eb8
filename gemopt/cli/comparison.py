"""What `gemopt compare` shows: rows as they come, then tables of 80 columns."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from gemopt.cli.common import microseconds, percent, print_table
from gemopt.cli.live import live_observer
from gemopt.run.observer import Observer

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.result import Result
    from gemopt.run.stop import Progress


class Running(Observer):
    """On a terminal: the bar of each solver with its number, and a line when it ends.

    Parameters
    ----------
    names
        Solvers in the order of running.
    reference
        The one that lines are compared with, once it has run.
    time_limit, iterations
        Limits of each, for the bar.
    effort
        As `--bound`; what the work after the last solver is called.
    """

    def __init__(
        self,
        names: list[str],
        reference: str,
        time_limit: float | None,
        iterations: int | None,
        effort: str,
    ) -> None:
        self._names, self._reference, self._effort = names, reference, effort
        self._bar = live_observer(time_limit, iterations) or Observer()
        self._shown = sys.stderr.isatty()
        self._done: list[dict[str, Any]] = []

    def on_start(self, instance: Instance, solver: str) -> None:
        """Begin the bar of the next solver."""
        number = f"{len(self._done) + 1} of {len(self._names)}"
        self._bar.on_start(instance, f"{solver} (solver {number})")

    def on_progress(self, progress: Progress) -> bool | None:
        """Update the bar."""
        return self._bar.on_progress(progress)

    def on_best(self, progress: Progress, placement: Placement) -> None:
        """Update the bar."""
        self._bar.on_best(progress, placement)

    def on_end(self, result: Result) -> None:
        """Remove the bar."""
        self._bar.on_end(result)

    def row(self, row: dict[str, Any]) -> None:
        """Print a line for the solver that ended."""
        self._done.append(row)
        if not self._shown:
            return
        number = f"{len(self._done)} of {len(self._names)}"
        if row["refused"] is not None:
            text = f"{row['status']}: {row['refused']}"
        else:
            text = f"{microseconds(row['unseen_us'])} us unseen, {row['seconds']:.1f} s"
            base = {each["solver"]: each for each in self._done}.get(self._reference)
            if base is not None and base is not row:
                change = percent(row["unseen_us"] / base["unseen_us"] - 1.0)
                text += f", {change} against {self._reference}"
        print(f"{row['solver']} ({number}): {text}", file=sys.stderr)
        if len(self._done) == len(self._names) and self._effort != "none":
            print(f"proving a lower bound ({self._effort})", file=sys.stderr)


def show(
    problem: Instance, rows: list[dict[str, Any]], reference: str, effort: str
) -> None:
    """Print the tables and what they leave out."""
    base = next((row for row in rows if row["solver"] == reference), rows[0])
    print(
        f"{problem.name or 'instance'}: {problem.num_layers} layers, "
        f"{problem.num_experts} experts in {problem.num_slots} slots on "
        f"{problem.num_gpus} GPUs;\n{rows[0]['seen_steps']} steps seen, "
        f"{rows[0]['unseen_steps']} unseen; differences against {base['solver']}"
    )
    print_table(
        ["solver", "seen us", "", "unseen us", "", "gap", "seconds"],
        [_cells(row, base) for row in rows],
    )
    if problem.comm is not None:
        print("of the unseen steps, each part alone:")
        print_table(
            ["solver", "straggler us", "communication us"],
            [_parts(row) for row in rows],
        )
    bound = rows[0]["lower_bound_us"]
    if math.isfinite(bound):
        print(f"lower bound of the seen steps ({effort}): {microseconds(bound)} us")
    for row in rows:
        if row["refused"] is not None:
            print(f"{row['solver']} {row['status']}: {row['refused']}")
        elif row["stop_reason"] in ("time", "interrupted"):
            ended = "its time limit" if row["stop_reason"] == "time" else "Ctrl-C"
            print(f"{row['solver']}: ended by {ended}")


def _cells(row: dict[str, Any], base: dict[str, Any]) -> list[str]:
    if row["refused"] is not None:
        return [row["solver"], *["-"] * 6]
    seen, unseen = row["seen_us"], row["unseen_us"]
    return [
        row["solver"],
        microseconds(seen),
        percent(seen / base["seen_us"] - 1.0),
        microseconds(unseen),
        percent(unseen / base["unseen_us"] - 1.0),
        f"{100 * row['gap']:.2f} %" if math.isfinite(row["gap"]) else "-",
        f"{row['seconds']:.3f}",
    ]


def _parts(row: dict[str, Any]) -> list[str]:
    keys = ("unseen_straggler_us", "unseen_communication_us")
    return [row["solver"], *(microseconds(row[key]) for key in keys)]
