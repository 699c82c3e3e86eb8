"""Prove the rows of a layer; smooth maxima are met by tangents, added as needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt.run.result import PROOF_TOLERANCE
from gemopt_solvers.exact.backend import COARSE, Answer, Problem
from gemopt_solvers.exact.rows.model import MAX_TERMS, Model, estimated_terms
from gemopt_solvers.exact.rows.tangents import add_tangents, is_smooth


class ModelBackEnd(Protocol):
    """Solve the rows of one layer; as `gemopt_solvers.exact.backend.BackEnd`."""

    def __call__(
        self,
        model: Model,
        hint: Ints,
        *,
        seconds: float,
        jobs: int,
        seed: int,
        stop: Callable[[], bool],
    ) -> Answer: ...


def refusal(instance: Instance) -> str | None:
    """Why the rows of a layer are out of reach, with their size; None if not."""
    if instance.comm is not None:
        return "it has communication, which this solver leaves out; use cpsat"
    terms = estimated_terms(instance)
    if terms > MAX_TERMS:
        return (
            f"a layer needs about {terms:.1e} coefficients, more than {MAX_TERMS:.0e}; "
            "use fewer steps (representative ones), or the solver search"
        )
    return None


def prove_model(
    back_end: ModelBackEnd,
    problem: Problem,
    hint: Ints,
    *,
    seconds: float,
    jobs: int,
    seed: int,
    stop: Callable[[], bool],
) -> Answer:
    """Solve; with a smooth maximum add tangents until model and truth agree."""
    model, began = problem.model, time.perf_counter()
    smooth = is_smooth(model)
    if smooth:
        add_tangents(model, hint)
    best = Answer(-np.inf, None)
    lowest = np.inf
    while True:
        left = seconds - (time.perf_counter() - began)
        answer = back_end(model, hint, seconds=left, jobs=jobs, seed=seed, stop=stop)
        best.bound = max(best.bound, answer.bound)
        if answer.phy2log is None:
            return best
        cost = problem.cost(answer.phy2log)
        if cost < lowest:
            lowest, best.phy2log = cost, answer.phy2log
        done = not smooth or lowest - best.bound <= PROOF_TOLERANCE * lowest / 2
        done = done or lowest < COARSE * model.known
        late = stop() or time.perf_counter() - began >= seconds
        if done or late or add_tangents(model, answer.phy2log) == 0:
            return best
        hint = best.phy2log if best.phy2log is not None else hint
