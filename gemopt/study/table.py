"""One line a solver: gaps over what all solvers solved, intervals, a paired test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

SHIFT_SECONDS = 10.0  #: usual shift of the geometric mean of times
EQUAL = 1e-6  #: objectives this close, relative, count as equal
CONFIDENCE = 0.95
_RESAMPLES = 2000
Run = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """Figures of one solver on one instance, means over its seeds; nan when unknown.

    Attributes
    ----------
    seeds
        Runs with a placement.
    objective_us, unseen_us
        Mean cost of the steps that the solver saw, and of those that it did not, us.
    to_best
        Mean (objective - best) / best, best being the smallest objective that any run
        or `best_known` has on the instance.
    to_bound
        Mean (objective - bound) / objective, with the largest bound of any run.
    unseen
        Mean of unseen objective / unseen objective of the best run there, minus 1.
    seconds
        Mean, loading and compiling left out.
    """

    instance: str
    solver: str
    seeds: int
    objective_us: float
    unseen_us: float
    to_best: float
    to_bound: float
    unseen: float
    seconds: float


@dataclass(frozen=True)
class Line:
    """Figures of one solver, means over instances; gaps are ratios, nan when unknown.

    Attributes
    ----------
    runs, failed
        Runs that count, and runs without a placement. Those count that every solver
        with a placement at all has done: pairs of instance and seed.
    to_best, low, high, worst_to_best
        Mean of `Cell.to_best`, ends of its 95 % bootstrap interval over instances, and
        the largest.
    to_bound, unseen
        Means of the same fields of `Cell`.
    at_best, proven
        Share of runs that equal the best, and that meet the bound.
    p_value
        Two-sided Wilcoxon signed-rank test over instances that this solver and the
        first line have equal gaps: to best, or of unseen steps where there are any.
    seconds
        Geometric mean of times, shifted by 10 s.
    """

    solver: str
    runs: int
    failed: int
    to_best: float
    low: float
    high: float
    worst_to_best: float
    to_bound: float
    at_best: float
    proven: float
    p_value: float
    unseen: float
    seconds: float


@dataclass(frozen=True)
class Summary:
    """A table and what it leaves out.

    Attributes
    ----------
    lines
        Best solver first: least unseen gap where steps were kept back, else least gap
        to best.
    cells
        By instance, then in the order of `lines`, over the same runs.
    instances
        Instances that count.
    left_out
        Pairs of instance and seed that some solver lacks.
    failures
        Reason and number of runs by solver.
    """

    lines: tuple[Line, ...]
    cells: tuple[Cell, ...]
    instances: int
    left_out: int
    failures: Mapping[str, Mapping[str, int]]


def summary(runs: Sequence[Run], best_known: Mapping[str, float] = {}) -> Summary:
    """Summarise runs over what all solvers solved.

    Parameters
    ----------
    runs
        Records of `gemopt.study.bench`.
    best_known
        Objectives by instance from elsewhere, us over all steps; those that the runs
        recorded count as well.

    Raises
    ------
    ValueError
        The runs cannot share a table: other steps kept back, or two instances of one
        name.
    """
    _require_alike(runs)
    best = _best(runs, best_known)
    names = solver_labels(runs)
    done: dict[str, dict[tuple[str, int], Run]] = defaultdict(dict)
    failures: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for run, name in zip(runs, names, strict=True):
        if run.get("objective_us") is None:
            failures[name][_reason(run)] += 1
        else:
            done[name][run["instance"], run["seed"]] = run
    every = set().union(*done.values())
    common = sorted(every.intersection(*done.values()))
    cells = {
        name: _cells(name, [of[pair] for pair in common], best)
        for name, of in done.items()
    }
    kept_back = any(run.get("unseen_us") for run in runs)
    order = sorted(done, key=lambda name: (_rank(cells[name], kept_back), name))
    lines = [
        _line(name, [done[name][pair] for pair in common], cells, order, best, failures)
        for name in order
    ]
    lines += [_nothing(name, failures) for name in sorted(set(names) - set(order))]
    return Summary(
        lines=tuple(lines),
        cells=tuple(
            cell
            for each in zip(*(cells[name] for name in order), strict=True)
            for cell in each
        ),
        instances=len({instance for instance, _ in common}),
        left_out=len(every) - len(common),
        failures={name: dict(failures[name]) for name in sorted(failures)},
    )


def solver_labels(runs: Sequence[Run]) -> list[str]:
    """Solver of each run, with its options, and its limits where runs differ."""
    limits = {(run["time_limit"], run["iterations"]) for run in runs}
    labels = []
    for run in runs:
        parts = [run["solver"]]
        parts += [f"{key}={value}" for key, value in sorted(run["params"].items())]
        if len(limits) > 1:
            if run["time_limit"] is not None:
                parts.append(f"{run['time_limit']:g}s")
            if run["iterations"] is not None:
                parts.append(f"{run['iterations']}it")
        labels.append(" ".join(parts))
    return labels


def _require_alike(runs: Sequence[Run]) -> None:
    kept = {run["unseen"] for run in runs}
    if len(kept) > 1:
        listed = ", ".join(sorted("none" if x is None else f"{x:g}" for x in kept))
        raise ValueError(f"runs keep different shares of steps back ({listed})")
    digests: dict[str, str] = {}
    for run in runs:
        if digests.setdefault(run["instance"], run["digest"]) != run["digest"]:
            raise ValueError(
                f"runs of two different instances are named {run['instance']!r}"
            )


def _reason(run: Run) -> str:
    if "error" in run:
        return str(run["error"])
    return f"{run.get('status', 'nothing')} ({run.get('stop_reason', 'unknown')})"


@dataclass(frozen=True)
class _Best:
    """Least objective, largest bound and least unseen objective by instance, us."""

    value: Mapping[str, float]
    bound: Mapping[str, float]
    unseen: Mapping[str, float]


def _best(runs: Sequence[Run], best_known: Mapping[str, float]) -> _Best:
    value: dict[str, float] = defaultdict(lambda: inf, best_known)
    bound: dict[str, float] = defaultdict(float)
    unseen: dict[str, float] = defaultdict(lambda: inf)
    for run in runs:
        name = run["instance"]
        for key in ("objective_us", "best_known_us"):
            if run.get(key) is not None:
                value[name] = min(value[name], run[key])
        if run.get("unseen_us") is not None:
            unseen[name] = min(unseen[name], run["unseen_us"])
        if run.get("bound_us") is not None:
            bound[name] = max(bound[name], run["bound_us"])
    return _Best(value, bound, unseen)


def _gaps(run: Run, best: _Best) -> tuple[float, float, float]:
    """To best, to bound, and of the unseen steps."""
    name, cost = run["instance"], run["objective_us"]
    least, proof = best.value[name], best.bound.get(name, nan)
    to_best = cost / least - 1.0 if least > 0 else cost
    to_bound = (cost - proof) / cost if cost > 0 else cost - proof
    later = run.get("unseen_us")
    return to_best, to_bound, later / best.unseen[name] - 1.0 if later else nan


def _cells(solver: str, runs: Sequence[Run], best: _Best) -> list[Cell]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run["instance"]].append(run)
    cells = []
    for name, group in groups.items():
        gaps = np.array([_gaps(run, best) for run in group]).mean(axis=0)
        later = [run.get("unseen_us") or nan for run in group]
        cells.append(
            Cell(
                instance=name,
                solver=solver,
                seeds=len(group),
                objective_us=_mean([run["objective_us"] for run in group]),
                unseen_us=_mean(later),
                to_best=float(gaps[0]),
                to_bound=float(gaps[1]),
                unseen=float(gaps[2]),
                seconds=_mean([run["seconds"] for run in group]),
            )
        )
    return cells


def _rank(cells: Sequence[Cell], kept_back: bool) -> float:
    value = _mean([_compared(cell, kept_back) for cell in cells])
    return inf if np.isnan(value) else value


def _compared(cell: Cell, kept_back: bool) -> float:
    return cell.unseen if kept_back else cell.to_best


def _line(
    solver: str,
    runs: Sequence[Run],
    cells: Mapping[str, Sequence[Cell]],
    order: Sequence[str],
    best: _Best,
    failures: Mapping[str, Mapping[str, int]],
) -> Line:
    own = cells[solver]
    kept_back = any(not np.isnan(cell.unseen) for cell in own)
    gaps = np.array([_gaps(run, best) for run in runs]).reshape(-1, 3)
    to_best = np.array([cell.to_best for cell in own])
    low, high = interval(to_best)
    first = cells[order[0]]
    against = [_compared(cell, kept_back) for cell in first]
    return Line(
        solver=solver,
        runs=len(runs),
        failed=sum(failures.get(solver, {}).values()),
        to_best=_mean(to_best),
        low=low,
        high=high,
        worst_to_best=float(gaps[:, 0].max()) if len(gaps) else nan,
        to_bound=_mean([cell.to_bound for cell in own if not np.isnan(cell.to_bound)]),
        at_best=_mean(gaps[:, 0] <= EQUAL),
        proven=_mean(gaps[:, 1] <= EQUAL),
        p_value=nan
        if solver == order[0]
        else paired_test([_compared(cell, kept_back) for cell in own], against),
        unseen=_mean([cell.unseen for cell in own]),
        seconds=shifted_geometric_mean([run["seconds"] for run in runs]),
    )


def _nothing(solver: str, failures: Mapping[str, Mapping[str, int]]) -> Line:
    """The line of a solver without any placement."""
    return Line(solver, 0, sum(failures[solver].values()), *[nan] * 10)


def interval(values: ArrayLike) -> tuple[float, float]:
    """Bootstrap interval (percentiles, fixed seed) of a mean; nan of fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return nan, nan
    from scipy.stats import bootstrap

    found = bootstrap(
        (array,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def paired_test(one: ArrayLike, other: ArrayLike) -> float:
    """P-value of Wilcoxon's signed-rank test; 1 where all pairs are equal, nan of none.

    References
    ----------
    F. Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin (1945).
    """
    difference = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    if difference.size == 0 or np.isnan(difference).any():
        return nan
    difference[np.abs(difference) <= EQUAL] = 0.0
    if not difference.any():
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(difference).pvalue)


def _mean(values: ArrayLike) -> float:
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else nan


def shifted_geometric_mean(seconds: ArrayLike, shift: float = SHIFT_SECONDS) -> float:
    """``exp(mean(log(t + shift))) - shift``; nan of nothing."""
    array = np.asarray(seconds, dtype=np.float64)
    if array.size == 0:
        return nan
    return float(np.exp(np.log(array + shift).mean()) - shift)
