"""Exact by HiGHS: proves more than CP-SAT for lines under short time limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Answer, BackEnd, ExactParams
from gemopt_solvers.exact.rounds import ExactSolver
from gemopt_solvers.exact.rows.cpsat import row_of
from gemopt_solvers.exact.rows.model import Model, Terms, TimeRow, pieced, renamed
from gemopt_solvers.exact.rows.prove import prove_model, refusal
from gemopt_solvers.exact.rows.scaling import TOTAL, Scaling, scaling_of
from gemopt_solvers.watch import watched

Flat = tuple[Terms, float, float]  #: terms, low, high
_SAFETY = 1e-7  #: taken off the bound, relative, for the solver's tolerances


class Milp(ExactSolver):
    """Minimise exactly with HiGHS, where latencies are lines and experts have one copy.

    Its bound is of floating point, and 1e-7 is taken off for that. HiGHS 1.16 calls
    wrong placements optimal in one of some thousand models with pieces of curves or
    with replicas, or hangs (github.com/ERGO-Code/HiGHS/issues/3094 is one such case),
    whence the restriction.
    """

    name: ClassVar[str] = "milp"
    summary: ClassVar[str] = "exact: HiGHS, the better bound on hard affine instances"
    Params = ExactParams

    def supports(self, instance: Instance) -> str | None:
        """Refuse pieces, replicas and models that are too large, with their size."""
        reason = refusal(instance)
        if reason is not None:
            return reason
        if instance.num_slots != instance.num_experts:
            return "it has replicas, with which HiGHS loses optima; use cpsat"
        if pieced(instance).any():
            return "its latencies have pieces, with which HiGHS loses optima; use cpsat"
        return None

    def back_end(self, instance: Instance) -> BackEnd:
        """The rows of one layer."""
        return partial(prove_model, run_highs)


def has_highs() -> bool:
    """Tell whether HiGHS is installed: it is an extra."""
    return find_spec("highspy") is not None


def run_highs(
    model: Model,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Solve one layer's model, without guarded rows and replicas."""
    import highspy

    scale = scaling_of(model)
    whole = scale.whole
    shrink = 1.0 if whole else model.instance.num_steps / TOTAL
    with _stdout_to_stderr():  # the first one of a process prints a banner
        highs = highspy.Highs()
    for option, value in {
        "output_flag": False,
        # Starts a HiGHS of its own that prints a banner; the hint serves better.
        "mip_heuristic_run_root_reduced_cost": False,
        "threads": jobs,
        "random_seed": seed % 2**31,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 0.999 if whole else 1e-7,
    }.items():
        highs.setOptionValue(option, value)
    if np.isfinite(seconds):
        highs.setOptionValue("time_limit", float(seconds))
    highs.passModel(_lp(model, scale, shrink, whole))
    _hint(highs, model, renamed(model, hint))
    highs.HandleUserInterrupt = True  # else cancelSolve does nothing

    def run() -> None:
        highs.solve()
        # Threads of HiGHS that outlive this one would abort the process at its end.
        highs.resetThreadScheduler(True)

    watched(run, stop, highs.cancelSolve)
    info = highs.getInfo()
    total = info.mip_dual_bound / shrink
    total = np.ceil(total - 1e-4) if whole else total * (1 - _SAFETY)
    bound = scale.to_us(float(total)) if np.isfinite(total) else -np.inf
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Answer(bound, None)
    values = np.array(highs.getSolution().col_value)
    held = np.rint(values[model.held]).astype(np.int64)
    return Answer(bound, row_of(held, model.instance.num_gpus))


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send what C code prints to stderr, as stdout may be a JSON document."""
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _lp(model: Model, scale: Scaling, shrink: float, whole: bool) -> Any:
    """Columns are the 0-1 variables, then one time per step."""
    import highspy

    steps = model.instance.num_steps
    rows: list[Flat] = [(row.terms, row.low, row.high) for row in model.rows]
    rows += [_time_row(model, row, scale, shrink) for row in model.times]
    data = [c for terms, _, _ in rows for _, c in terms]
    columns = [v for terms, _, _ in rows for v, _ in terms]
    starts = np.cumsum([0] + [len(terms) for terms, _, _ in rows])
    matrix = csr_array(
        (np.array(data, float), np.array(columns, np.int32), starts.astype(np.int32)),
        shape=(len(rows), model.count + steps),
    )
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = model.count + steps, len(rows)
    lp.col_cost_ = np.concatenate([np.zeros(model.count), np.ones(steps)])
    low = scale.lowest(model) * shrink
    lp.col_lower_ = np.concatenate([np.zeros(model.count), low])
    free = np.where(model.instance.weights > 0, highspy.kHighsInf, low)
    lp.col_upper_ = np.concatenate([np.ones(model.count), free])
    lp.row_lower_ = np.array([max(r[1], -highspy.kHighsInf) for r in rows], float)
    lp.row_upper_ = np.array([min(r[2], highspy.kHighsInf) for r in rows], float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = matrix.indptr
    lp.a_matrix_.index_ = matrix.indices
    lp.a_matrix_.value_ = matrix.data
    integer = highspy.HighsVarType.kInteger
    last = integer if whole else highspy.HighsVarType.kContinuous
    lp.integrality_ = [integer] * model.count + [last] * steps
    return lp


def _time_row(model: Model, row: TimeRow, scale: Scaling, shrink: float) -> Flat:
    unit = scale.unit[row.step] * shrink
    base = (row.constant - scale.offset[row.step]) * unit
    terms = [(v, -c * unit) for v, c in row.terms]
    terms.append((model.count + row.step, 1.0))
    return terms, base, np.inf


def _hint(highs: Any, model: Model, row: Ints) -> None:
    on = np.zeros(model.held.shape)
    on[row, model.instance.slot2gpu] = 1
    columns = model.held.ravel().astype(np.int32)
    highs.setSolution(len(columns), columns, on.ravel())
