"""One line a solver: gaps, share proven, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

SHIFT_SECONDS = 10.0  #: usual shift of the geometric mean of times
EQUAL = 1e-6  #: objectives this close, relative, count as equal
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """Figures of one solver over all its runs; gaps are ratios, nan when unknown.

    Attributes
    ----------
    runs, failed
        Runs with a placement, and runs without.
    to_best, worst_to_best
        Mean and largest (objective - best) / best, best being the smallest objective
        that any run or `best_known` has on the instance.
    to_bound
        Mean (objective - bound) / objective, with the largest bound of any run.
    at_best, proven
        Share of runs that equal the best, and that meet the bound.
    unseen
        Mean of unseen objective / unseen objective of the best run there, minus 1.
    seconds
        Geometric mean of times, shifted by 10 s.
    """

    solver: str
    runs: int
    failed: int
    to_best: float
    worst_to_best: float
    to_bound: float
    at_best: float
    proven: float
    unseen: float
    seconds: float


def summary(runs: Sequence[Run], best_known: Mapping[str, float] = {}) -> list[Line]:
    """Summarise runs, best solver first.

    Parameters
    ----------
    runs
        Records of `gemopt.study.bench`.
    best_known
        Objectives by instance from elsewhere, us over the same steps.
    """
    best: dict[str, float] = dict(best_known)
    bound: dict[str, float] = {}
    unseen: dict[str, float] = {}
    for run in runs:
        name = run["instance"]
        _smaller(best, name, run.get("objective_us"))
        _smaller(unseen, name, run.get("unseen_us"))
        if run.get("bound_us") is not None:
            bound[name] = max(bound.get(name, 0.0), run["bound_us"])
    names = sorted({run["solver"] for run in runs})
    lines = [
        _line(name, [r for r in runs if r["solver"] == name], best, bound, unseen)
        for name in names
    ]
    return sorted(lines, key=lambda x: (np.isnan(x.to_best), x.to_best, x.solver))


def _smaller(table: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        table[name] = min(table.get(name, np.inf), value)


def _line(
    solver: str,
    runs: Sequence[Run],
    best: Mapping[str, float],
    bound: Mapping[str, float],
    unseen: Mapping[str, float],
) -> Line:
    good = [run for run in runs if run.get("objective_us") is not None]
    cost = np.array([run["objective_us"] for run in good])
    least = np.array([best[run["instance"]] for run in good])
    proof = np.array([bound.get(run["instance"], np.nan) for run in good])
    to_best = cost / np.where(least > 0, least, 1.0) - np.where(least > 0, 1.0, 0.0)
    to_bound = (cost - proof) / np.where(cost > 0, cost, 1.0)
    later = [
        run["unseen_us"] / unseen[run["instance"]] - 1
        for run in good
        if run.get("unseen_us")
    ]
    return Line(
        solver=solver,
        runs=len(good),
        failed=len(runs) - len(good),
        to_best=_mean(to_best),
        worst_to_best=float(to_best.max()) if len(good) else float("nan"),
        to_bound=_mean(to_bound[~np.isnan(to_bound)]),
        at_best=_mean(to_best <= EQUAL),
        proven=_mean(to_bound <= EQUAL),
        unseen=_mean(later),
        seconds=shifted_geometric_mean([r["seconds"] for r in good]),
    )


def _mean(values: ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else float("nan")


def shifted_geometric_mean(seconds: ArrayLike, shift: float = SHIFT_SECONDS) -> float:
    """``exp(mean(log(t + shift))) - shift``; nan of nothing."""
    array = np.asarray(seconds, dtype=np.float64)
    if array.size == 0:
        return float("nan")
    return float(np.exp(np.log(array + shift).mean()) - shift)


TITLES = (
    "solver",
    "runs",
    "to best",
    "worst",
    "to bound",
    "at best",
    "proven",
    "unseen",
    "seconds",
)


def cells(line: Line) -> list[str]:
    """The texts of one line, in the order of `TITLES`."""

    def percent(value: float) -> str:
        return "-" if np.isnan(value) else f"{100 * value:.2f} %"

    failed = f" (+{line.failed} failed)" if line.failed else ""
    return [
        line.solver,
        f"{line.runs}{failed}",
        percent(line.to_best),
        percent(line.worst_to_best),
        percent(line.to_bound),
        percent(line.at_best),
        percent(line.proven),
        percent(line.unseen),
        "-" if np.isnan(line.seconds) else f"{line.seconds:.3f}",
    ]


def header(runs: Sequence[Run]) -> str:
    """Machine, versions and limits of the runs, each variant on a line of its own."""
    seen: dict[str, None] = {}
    for run in runs:
        m = run.get("machine", {})
        versions = ", ".join(f"{k} {v}" for k, v in m.get("versions", {}).items())
        limit = run["time_limit"]
        text = (
            f"{m.get('cpu', 'unknown processor')}, {m.get('cores', '?')} cores, "
            f"1 core a run, {m.get('runs_at_once', '?')} at once; "
            f"time limit {'none' if limit is None else f'{limit:g} s'}, "
            f"iterations {run['iterations']}, unseen {run['unseen']}, "
            f"bound {run['bound_effort']}; {versions}"
        )
        seen[text] = None
    return "\n".join(seen)


def render(runs: Sequence[Run], best_known: Mapping[str, float] = {}) -> str:
    """Header and table as Markdown."""
    rows = [TITLES, ["---"] * len(TITLES)]
    rows += [cells(line) for line in summary(runs, best_known)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"{header(runs)}\n\n{table}"
