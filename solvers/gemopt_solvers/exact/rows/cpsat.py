"""Exact by OR-Tools CP-SAT."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, floor
from typing import Any, ClassVar

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Answer, BackEnd, ExactParams
from gemopt_solvers.exact.communication import solver as communication
from gemopt_solvers.exact.cp_sat import proving
from gemopt_solvers.exact.rounds import ExactSolver
from gemopt_solvers.exact.rows.model import Model, renamed
from gemopt_solvers.exact.rows.prove import prove_model, refusal
from gemopt_solvers.exact.rows.scaling import Scaling, scaling_of
from gemopt_solvers.watch import watched


class Cpsat(ExactSolver):
    """Minimise exactly with CP-SAT; the bound and the placement survive any stop.

    Coefficients are whole numbers: tokens where all GPUs share one line, which loses
    nothing, else us times a scale, rounded down, so that the solver's bound is a bound
    on the objective and the loss stays below 1e-7 of it.
    """

    name: ClassVar[str] = "cpsat"
    summary: ClassVar[str] = "exact: OR-Tools CP-SAT, proves small instances"
    Params = ExactParams

    def supports(self, instance: Instance) -> str | None:
        """Refuse models that are too large, with an estimate of their size."""
        if instance.comm is not None:
            return communication.refusal(instance, instance.comm)
        return refusal(instance)

    def back_end(self, instance: Instance) -> BackEnd:
        """The rows of one layer, or of compute and communication."""
        if instance.comm is not None:
            return communication.run_communication
        return partial(prove_model, run_cpsat)


def run_cpsat(
    model: Model,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Solve one layer's model."""
    from ortools.sat.python import cp_model

    scale = scaling_of(model)
    cp, variables, _ = _build(model, scale, renamed(model, hint))
    solver = proving(jobs=jobs, seed=seed, seconds=seconds, replicas=model.most > 1)
    status = watched(lambda: solver.solve(cp), stop, solver.stop_search)
    if status == cp_model.MODEL_INVALID:
        raise RuntimeError(f"CP-SAT refused the model: {cp.validate()}")
    bound = scale.to_us(ceil(solver.best_objective_bound - 1e-6))
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(bound, None)
    held = np.array([[solver.value(variables[v]) for v in r] for r in model.held])
    return Answer(bound, row_of(held, model.instance.num_gpus))


def row_of(held: Ints, gpus: int) -> Ints:
    """Experts in slot order from a 0-1 matrix ``[experts, gpus]``."""
    return np.concatenate([np.flatnonzero(held[:, g] == 1) for g in range(gpus)])


def _build(
    model: Model, scale: Scaling, hint: Ints
) -> tuple[Any, list[Any], list[Any]]:
    from ortools.sat.python import cp_model

    cp = cp_model.CpModel()
    variables = [cp.new_bool_var("") for _ in range(model.count)]
    for row in model.rows:
        terms = sum(int(c) * variables[v] for v, c in row.terms)
        if not row.terms and row.low <= 0 <= row.high:
            continue
        kept = cp.add_linear_constraint(terms, int(row.low), int(row.high))
        if row.guard is not None:
            kept.only_enforce_if(variables[row.guard])
    lowest = scale.lowest(model)
    highest = scale.highest(model)
    steps = [
        cp.new_int_var(int(low), int(max(low, high)), "")
        for low, high in zip(lowest, highest, strict=True)
    ]
    for time in model.times:
        unit = scale.unit[time.step]
        base = floor((time.constant - scale.offset[time.step]) * unit + 1e-9)
        whole = [(v, floor(c * unit + 1e-9)) for v, c in time.terms]
        # What exceeds the highest time alone need not do so by more than 1: large
        # coefficients are refused, or lead OR-Tools astray (see `run_cpsat`).
        above = int(max(lowest[time.step], highest[time.step])) + 1
        above -= sum(c for _, c in whole if c < 0)
        base = min(base, above)
        most = above - base
        terms = sum(min(c, most) * variables[v] for v, c in whole)
        kept = cp.add(steps[time.step] >= base + terms)
        if time.guard is not None:
            kept.only_enforce_if(variables[time.guard])
    cp.minimize(sum(steps))
    _hint(cp, model, variables, hint)
    return cp, variables, steps


def _hint(cp: Any, model: Model, variables: list[Any], row: Ints) -> None:
    copies = np.bincount(row, minlength=model.instance.num_experts)
    on = np.zeros(model.held.shape, dtype=bool)
    on[row, model.instance.slot2gpu] = True
    for (e, g), held in np.ndenumerate(on):
        cp.add_hint(variables[model.held[e, g]], bool(held))
        if model.most > 1:
            for r in range(model.most):
                there = bool(held) and copies[e] == r + 1
                cp.add_hint(variables[model.split[e, g, r]], there)
    if model.most > 1:
        for (e, r), v in np.ndenumerate(model.copies):
            cp.add_hint(variables[v], bool(copies[e] == r + 1))
