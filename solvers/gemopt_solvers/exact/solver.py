"""Runs the exact method that fits the instance: bnb, lpbb, cpsat or milp."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.latency.base import CURVE, LINE
from gemopt.model.instance import Instance
from gemopt.run.result import PROOF_TOLERANCE
from gemopt_solvers.exact.backend import Answer, BackEnd, ExactParams, Problem
from gemopt_solvers.exact.communication.solver import run_communication
from gemopt_solvers.exact.lp.relaxed import too_large
from gemopt_solvers.exact.lp.solver import run_lpbb
from gemopt_solvers.exact.rounds import ExactSolver
from gemopt_solvers.exact.rows.cpsat import Cpsat, run_cpsat
from gemopt_solvers.exact.rows.milp import has_highs, run_highs
from gemopt_solvers.exact.rows.model import pieced
from gemopt_solvers.exact.rows.prove import prove_model
from gemopt_solvers.exact.sets.solver import run_bnb
from gemopt_solvers.exact.sets.tables import table_size

Part = tuple[BackEnd, float]  #: back end, seconds that it may take
#: Comparisons up to which the tables of bnb are worth their time, some minutes.
_TABLES = 1e12
_COMPARISONS_A_SECOND = 1e9  #: a fifth of what a core does: the search needs time too
_CPSAT_SECONDS = 3.0  #: what CP-SAT cannot prove by then, HiGHS does sooner
_GLANCE = 1.0  #: seconds of each before lpbb: enough where few experts settle all
#: Experts times GPUs times steps up to which lpbb proves most layers in a minute.
_LPBB_SIZE = 32 * 4 * 16
_LPBB_SECONDS = 60.0  #: what it takes for such a layer


class Exact(ExactSolver):
    """Minimise exactly with the methods that fit the instance.

    Small layers go to `bnb`. Where all latencies are lines and no expert has copies,
    middle sizes go to `lpbb` after a second each of `cpsat` and `milp`; of larger ones
    `cpsat` has a few seconds and `milp` the rest. Everything else is for `cpsat`.
    Bound and placement are the best of all that ran.
    """

    name: ClassVar[str] = "exact"
    summary: ClassVar[str] = "exact: bnb, lpbb, cpsat or milp, by what proves most"
    Params = ExactParams

    def supports(self, instance: Instance) -> str | None:
        """Refuse models that are too large, with an estimate of their size."""
        if _has_tables(instance, self.params.max_moves):
            return None
        return Cpsat(self.params).supports(instance)

    @staticmethod
    def expects_proof(instance: Instance, seconds: float) -> bool:
        """Tell whether a proof within `seconds` is likely, as `auto` asks.

        True where the tables of bnb take a fraction of the time, or lpbb has a minute
        for each layer. Nothing else that was measured is proven reliably
        (docs/exact.md).
        """
        if instance.comm is not None:
            return False
        work = instance.num_layers * table_size(instance)[0]
        if work <= _COMPARISONS_A_SECOND * seconds:
            return True
        return _for_lpbb(instance) and seconds >= _LPBB_SECONDS * instance.num_layers

    def back_end(self, instance: Instance) -> BackEnd:
        """One back end after the other, as `plan` says."""
        return run_planned


def _has_tables(instance: Instance, max_moves: int | None) -> bool:
    """Tell whether bnb is the method to use."""
    free = instance.comm is None and max_moves is None
    return free and table_size(instance)[0] <= _TABLES


def plan(instance: Instance, max_moves: int | None) -> list[Part]:
    """Methods in the order tried, each with its seconds; the last one gets the rest."""
    if instance.comm is not None:
        return [(run_communication, np.inf)]
    if _has_tables(instance, max_moves):
        return [(run_bnb, np.inf)]
    cpsat, milp = partial(prove_model, run_cpsat), partial(prove_model, run_highs)
    if max_moves is not None or not _plain_lines(instance):
        return [(cpsat, np.inf)]
    if _for_lpbb(instance):
        glances = [(cpsat, _GLANCE), (milp, _GLANCE)]
        return [*glances[: 1 + has_highs()], (run_lpbb, np.inf)]
    if has_highs():
        return [(cpsat, _CPSAT_SECONDS), (milp, np.inf)]
    return [(cpsat, np.inf)]


def _for_lpbb(instance: Instance) -> bool:
    """Tell whether lpbb proves most layers of this size in a minute."""
    size = instance.num_experts * instance.num_gpus * instance.num_steps
    fits = size <= _LPBB_SIZE and _plain_lines(instance)
    return fits and too_large(instance) is None


def _plain_lines(instance: Instance) -> bool:
    """Tell whether all latencies are lines and no expert has copies."""
    lines = np.isin(instance.tables.kind, (LINE, CURVE)) & ~pieced(instance)
    return bool(lines.all()) and instance.num_slots == instance.num_experts


def run_planned(
    problem: Problem,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Prove one layer, trying one method after the other."""
    end = time.perf_counter() + seconds
    row, cost, bound = hint, problem.cost(hint), -np.inf
    for back_end, most in plan(problem.instance, problem.max_moves):
        left = min(most, end - time.perf_counter())
        if left <= 0 or stop() or cost - bound <= PROOF_TOLERANCE * cost:
            break
        answer = back_end(problem, row, seconds=left, jobs=jobs, seed=seed, stop=stop)
        bound = max(bound, answer.bound)
        if answer.phy2log is not None and problem.cost(answer.phy2log) < cost:
            row, cost = answer.phy2log, problem.cost(answer.phy2log)
    return Answer(bound, row)
