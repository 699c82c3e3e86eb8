"""Exact by HiGHS: proves more than CP-SAT where costs are lines and time runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from gemopt.model import SHARE_UNIT, Instance, Ints
from solvers.cpsat import ExactParams, row_of
from solvers.exact.layers import Answer, BackEnd, prove_model, refusal
from solvers.exact.model import Model, Row, Terms, TimeRow, renamed
from solvers.exact.scaling import TOTAL, Scaling, scaling_of
from solvers.exact.solver import ExactSolver
from solvers.exact.watch import watched

Flat = tuple[Terms, float, float]  #: terms, low, high
_SAFETY = 1e-7  #: taken off the bound, relative, for the solver's tolerances


class Milp(ExactSolver):
    """Minimise exactly with HiGHS. Its bound is of floating point, and 1e-7 is taken
    off for that; guarded rows become big-M rows."""

    name: ClassVar[str] = "milp"
    summary: ClassVar[str] = "exact: HiGHS, the better bound on hard affine instances"
    Params = ExactParams

    def supports(self, instance: Instance) -> str | None:
        """Refuse models that are too large, with an estimate of their size."""
        return refusal(instance)

    def back_end(self, instance: Instance) -> BackEnd:
        """The rows of one layer."""
        return partial(prove_model, run_highs)


def run_highs(
    model: Model,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Solve one layer's model; with pieces or replicas a bound takes two runs.

    HiGHS 1.16 calls wrong placements optimal in one of some thousand such models, now
    with presolve, now without it, now because of the hint
    (github.com/ERGO-Code/HiGHS/issues/3094 is one such case).
    """
    run = partial(_run, model, jobs=jobs, seed=seed, stop=stop)
    pieces = any(row.guard is not None for row in model.times)
    if model.most == 1 and not pieces:
        return run(hint, seconds=seconds).answer
    first = run(hint, seconds=seconds / 2, presolve=False)
    second = run(None, seconds=seconds / 2)
    best = min(first, second, key=lambda found: found.cost)
    bound = min(first.answer.bound, second.answer.bound)
    return Answer(bound, best.answer.phy2log)


@dataclass(frozen=True)
class _Found:
    """An answer, and the cost of its placement in the model's units."""

    answer: Answer
    cost: float = np.inf


def _run(
    model: Model,
    hint: Ints | None,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
    presolve: bool = True,
) -> _Found:
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
        "presolve": "on" if presolve else "off",
        "threads": jobs,
        "random_seed": seed % 2**31,
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 0.999 if whole else 1e-7,
    }.items():
        highs.setOptionValue(option, value)
    if np.isfinite(seconds):
        highs.setOptionValue("time_limit", float(seconds))
    highs.passModel(_lp(model, scale, shrink, whole))
    if hint is not None:
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
        return _Found(Answer(bound, None))
    values = np.array(highs.getSolution().col_value)
    held = np.rint(values[model.held]).astype(np.int64)
    row = row_of(held, model.instance.num_gpus)
    return _Found(Answer(bound, row), info.objective_function_value)


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
    rows = [flat for row in model.rows for flat in _flat(row)]
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


def _flat(row: Row) -> list[Flat]:
    """A row without guard: with one, each side is slack when the guard is 0."""
    if row.guard is None:
        return [(row.terms, row.low, row.high)]
    top = sum(c for _, c in row.terms)  # loads: no coefficient is negative
    unit = SHARE_UNIT if top > 1e6 else 1
    terms = [(v, c / unit) for v, c in row.terms]
    flat: list[Flat] = []
    if row.low > 0:
        flat.append(([*terms, (row.guard, -row.low / unit)], 0.0, np.inf))
    if row.high < top:
        spare = (top - row.high) / unit
        flat.append(([*terms, (row.guard, spare)], -np.inf, top / unit))
    return flat


def _time_row(model: Model, row: TimeRow, scale: Scaling, shrink: float) -> Flat:
    unit = scale.unit[row.step] * shrink
    base = (row.constant - scale.offset[row.step]) * unit
    terms = [(v, -c * unit) for v, c in row.terms]
    terms.append((model.count + row.step, 1.0))
    if row.guard is not None:  # z >= base + terms - M (1 - guard)
        large = max(0.0, base + sum(max(0.0, c) for _, c in row.terms) * unit)
        terms.append((row.guard, -large))
        base -= large
    return terms, base, np.inf


def _hint(highs: Any, model: Model, row: Ints) -> None:
    copies = np.bincount(row, minlength=model.instance.num_experts)
    on = np.zeros(model.held.shape)
    on[row, model.instance.slot2gpu] = 1
    index, value = [model.held.ravel()], [on.ravel()]
    if model.most > 1:
        amount = np.arange(1, model.most + 1)
        has = (copies[:, None] == amount).astype(float)
        index += [model.copies.ravel(), model.split.ravel()]
        value += [has.ravel(), (on[:, :, None] * has[:, None, :]).ravel()]
    columns = np.concatenate(index).astype(np.int32)
    highs.setSolution(len(columns), columns, np.concatenate(value))
