"""Exact by branch and bound over whole sets of experts, for small layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Answer, BackEnd, Problem
from gemopt_solvers.exact.rounds import ExactSolver
from gemopt_solvers.exact.sets.branching import Branching
from gemopt_solvers.exact.sets.tables import too_large
from gemopt_solvers.watch import Deadline, watched

TINY = 12  #: experts up to which one thread proves a layer at once


class Bnb(ExactSolver):
    """Minimise exactly, for any latency family.

    The method is that of `gemopt_solvers.exact.sets.branching`.

    It proves up to 16 experts within seconds where the programs of `cpsat` and `milp`
    have weak relaxations: staircases, smooth maxima, replicas.
    """

    name: ClassVar[str] = "bnb"
    summary: ClassVar[str] = "exact: branch and bound over sets of experts, tiny layers"

    def supports(self, instance: Instance) -> str | None:
        """Refuse layers whose tables are too large, with their size."""
        return too_large(instance)

    def back_end(self, instance: Instance) -> BackEnd:
        """Branch over sets."""
        return run_bnb


def run_bnb(
    problem: Problem,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Search one layer; the seed does not matter."""
    search = Branching(problem.instance, problem.layer, hint)

    def halt() -> None:
        search.halt[0] = 1

    # Which of equal placements threads find first is chance: small layers need none.
    threads = 1 if problem.instance.num_experts <= TINY else jobs
    watched(lambda: search.run(threads), Deadline(stop, seconds), halt)
    return Answer(search.bound, search.row)
