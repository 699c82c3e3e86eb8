"""Exact by branch and bound on linear programs, where latencies are lines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Answer, BackEnd, Problem
from gemopt_solvers.exact.lp.relaxed import Relaxed, too_large
from gemopt_solvers.exact.rounds import ExactSolver
from gemopt_solvers.watch import Deadline, watched

_SEARCHES = 4  #: seeds of a heuristic that looks for a better hint before the proof
_INSTANT = 16  #: experts up to which a proof takes less time than these searches


class Lpbb(ExactSolver):
    """Minimise exactly where latencies are lines; see `exact.lp.relaxed`.

    It proves E = 32, G = 4, T = 16 within a minute, equal and unequal GPUs, where
    general programs stop at a gap.
    """

    name: ClassVar[str] = "lpbb"
    summary: ClassVar[str] = (
        "exact: branch and bound on linear programs, some 32 experts"
    )

    def supports(self, instance: Instance) -> str | None:
        """Refuse curves, replicas, communication, and tableaus that are too large."""
        return too_large(instance)

    def back_end(self, instance: Instance) -> BackEnd:
        """Branch on linear programs."""
        return run_lpbb


def run_lpbb(
    problem: Problem,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Search one layer from the best of several searches, as that prunes more."""
    late = Deadline(stop, seconds)
    if problem.instance.num_experts > _INSTANT:
        hint = _polished(problem, hint, Deadline(stop, seconds / 4), jobs, seed)
    search = Relaxed(problem, hint)

    def halt() -> None:
        search.halt[0] = 1

    watched(lambda: search.run(jobs), late, halt)
    return Answer(search.bound, hint if search.phy2log is None else search.phy2log)


def _polished(
    problem: Problem, hint: Ints, stop: Deadline, jobs: int, seed: int
) -> Ints:
    """The best of the hint and of what a heuristic finds, expert by slot."""
    one = problem.instance.layer(problem.layer)

    def found(number: int) -> Ints:
        if number == 0 or stop():
            return hint
        better = problem.heuristic(one, seed=seed + number, thorough=True)
        return hint if better is None else better.phy2log[0]

    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(found, range(_SEARCHES + 1)))
    return min(rows, key=problem.cost)
