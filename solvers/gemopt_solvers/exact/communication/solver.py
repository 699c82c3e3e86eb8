"""A back end for compute and communication together."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.traffic import links
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Answer, Problem
from gemopt_solvers.exact.communication.model import JointModel
from gemopt_solvers.exact.communication.sets import count_terms
from gemopt_solvers.exact.cp_sat import proving
from gemopt_solvers.watch import watched

MAX_SETS_TERMS = 3_000_000  #: about 1 GB in CP-SAT


def refusal(instance: Instance, comm: Communication) -> str | None:
    """Why communication cannot be modelled exactly, or None if it can."""
    if comm.routing is None:
        return "it has communication without per-token ids, which only estimates"
    if instance.num_slots > instance.num_experts:
        return (
            f"{instance.num_slots} slots for {instance.num_experts} experts: exact "
            "communication takes no replicas"
        )
    terms = count_terms(instance, links(instance.node, comm))
    if terms > MAX_SETS_TERMS:
        return (
            f"a layer with communication needs about {terms:.1e} coefficients, more "
            f"than {MAX_SETS_TERMS:.0e}; use the solver search"
        )
    return None


def run_communication(
    problem: Problem,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Solve one layer with CP-SAT."""
    from ortools.sat.python import cp_model

    built = JointModel(problem, hint)
    solver = proving(jobs=jobs, seed=seed, seconds=seconds, replicas=False)
    status = watched(lambda: solver.solve(built.cp), stop, solver.stop_search)
    if status == cp_model.MODEL_INVALID:
        raise RuntimeError(f"CP-SAT refused the model: {built.cp.validate()}")
    bound = ceil(solver.best_objective_bound - 1e-6) / built.scale
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Answer(bound, None)
    rows = []
    for g, variables in enumerate(built.chosen):
        which = [solver.value(v) for v in variables].index(1)
        rows.append(built.sets[int(built.instance.slots[g])].member[which])
    return Answer(bound, np.concatenate(rows))
