"""Several solvers on one instance, judged on steps that none of them saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gemopt.bounds.lower_bound import effort_seconds, lower_bound
from gemopt.cost.evaluate import evaluate
from gemopt.run.solve import solve
from gemopt.run.stop import StopReason
from gemopt.study.warm import warm

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.observer import Observer
    from gemopt.run.result import Result


def compare(
    instance: Instance,
    solvers: Sequence[str],
    *,
    unseen: float = 0.5,
    time_limit: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    observer: Observer | None = None,
    bound_effort: str | float = "quick",
    done: Callable[[dict[str, Any]], None] = lambda row: None,
) -> list[dict[str, Any]]:
    """Run each solver on the first steps of `instance` and evaluate it on the rest.

    Parameters
    ----------
    instance
        The problem; its last ``unseen`` share of steps is kept from the solvers.
    solvers
        Names, in the order of the rows.
    unseen
        Between 0 and 1.
    time_limit, iterations, seed, jobs
        As in `gemopt.solve`, the same for all.
    observer
        Callbacks, told of each run in turn. After Ctrl-C no further solver runs.
    bound_effort
        As in `gemopt.solve`; the work is done once, from the best placement.
    done
        Called with each row as soon as its solver ended; bound and gap are not yet in.

    Returns
    -------
    list of dict
        One row per solver: seen and unseen objective and lower bound on the seen steps
        in us, gap, seconds, status, stop reason; straggler and communication alone on
        the unseen steps in us; `refused` says why a solver could not take it, or with
        which exception it ended. The bound is the best one known, for all rows.

    Raises
    ------
    ValueError
        `unseen` is not between 0 and 1 or leaves a part empty; an unknown effort.
    """
    effort_seconds(bound_effort)  # refuse a bad value before the runs
    if not 0.0 < unseen < 1.0:
        raise ValueError(f"unseen = {unseen} must be between 0 and 1")
    seen, later = instance.split(1.0 - unseen)
    rows, results = [], []
    for name in solvers:
        row = _blank(name, seen, later)
        rows.append(row)
        try:
            warm(seen, name)
            result = solve(
                seen,
                name,
                time_limit=time_limit,
                iterations=iterations,
                seed=seed,
                jobs=jobs,
                observer=observer,
            )
        except ValueError as error:
            row["refused"] = str(error)
            done(row)
            continue
        except Exception as error:  # somebody else's solver; the other rows go on
            row |= {"status": "faulty", "refused": f"{type(error).__name__}: {error}"}
            done(row)
            continue
        results.append(result)
        row |= {
            "seen_us": result.objective,
            "seconds": result.seconds,
            "status": str(result.status),
            "stop_reason": str(result.stop_reason),
        }
        if result.placement is not None:
            row |= _unseen(later, result.placement)
        done(row)
        if result.stop_reason == StopReason.INTERRUPTED:
            break
    _share_bound(rows, _best_bound(seen, results, bound_effort))
    return rows


def _blank(name: str, seen: Instance, later: Instance) -> dict[str, Any]:
    """The row of a solver that has not run."""
    return {
        "solver": name,
        "seen_steps": seen.num_steps,
        "unseen_steps": later.num_steps,
        "seen_us": math.nan,
        "unseen_us": math.nan,
        "unseen_straggler_us": math.nan,
        "unseen_communication_us": math.nan,
        "lower_bound_us": -math.inf,
        "gap": math.inf,
        "seconds": 0.0,
        "status": "refused",
        "stop_reason": "",
        "refused": None,
    }


def _unseen(later: Instance, placement: Placement) -> dict[str, float]:
    """What a placement costs on the unseen steps, in all and by part."""
    cost = evaluate(later, placement)
    return {
        "unseen_us": cost.objective,
        "unseen_straggler_us": cost.straggler_us,
        "unseen_communication_us": cost.communication_us,
    }


def _best_bound(seen: Instance, results: list[Result], effort: str | float) -> float:
    """Best bound that the runs proved or that `effort` proves, us."""
    known = max((result.lower_bound for result in results), default=-math.inf)
    placed = [result for result in results if result.placement is not None]
    if not placed or results[-1].stop_reason == StopReason.INTERRUPTED:
        return known
    best = min(placed, key=lambda result: result.objective)
    try:
        proven = lower_bound(seen, effort, placement=best.placement).value
    except KeyboardInterrupt:  # the rows are done
        return known
    return max(known, min(proven, best.objective))  # rounding never puts it above


def _share_bound(rows: list[dict[str, Any]], bound: float) -> None:
    """Give every row the best bound and its gap to it."""
    for row in rows:
        row["lower_bound_us"] = bound
        if math.isfinite(bound) and row["seen_us"] > 0:
            row["gap"] = max(0.0, 1.0 - bound / row["seen_us"])
