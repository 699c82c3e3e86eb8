"""What the exact back ends share: hints, layer after layer, proofs, limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from gemopt import registry
from gemopt.bounds.communication import communication_bound
from gemopt.bounds.counting import count_heavy
from gemopt.bounds.minorant import minorant
from gemopt.bounds.water_filling import water_filling
from gemopt.evaluation import evaluate
from gemopt.model import Floats, Instance, Ints, Placement
from gemopt.progress import Monitor
from gemopt.result import PROOF_TOLERANCE
from gemopt.solver import Outcome
from gemopt.stop import MaxRuntime, StopCriterion, StopReason
from solvers.exact import communication as comm_model
from solvers.exact.model import MAX_TERMS, Model, estimated_terms
from solvers.exact.tangents import add_tangents, is_smooth

_HINT_SECONDS = 5.0
_FIRST_SLICE = 2.0  #: seconds of the first round over several layers


@dataclass
class Answer:
    """What a back end found for one layer; the bound is on the model, in us."""

    bound: float
    phy2log: Ints | None


@dataclass
class Problem:
    """One layer to prove.

    Attributes
    ----------
    bound
        One-step lower bound, us ``[steps]``.
    known
        Objective of the best placement when the problem was posed, us.
    start
        Expert by slot from which `max_moves` counts.
    """

    instance: Instance
    layer: int
    bound: Floats
    known: float
    max_moves: int | None
    start: Ints | None

    @cached_property
    def model(self) -> Model:
        """The layer as rows, built when first asked for."""
        return Model(
            self.instance,
            self.layer,
            self.bound,
            self.known,
            self.max_moves,
            self.start,
        )

    def cost(self, row: Ints) -> float:
        """True cost of a placement of the layer, expert by slot, us."""
        one = Placement(row[None], self.instance.slots)
        return evaluate(self.instance.layer(self.layer), one).objective


class Stop:
    """The monitor's order to stop, as back ends ask for it; remembered once given."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self.reason: StopReason | None = None

    def __call__(self) -> bool:
        self.reason = self.reason or self._monitor.stop_reason(0)
        return self.reason is not None

    def interrupt(self) -> None:
        """Ctrl-C came while a back end was at work; it hands back what it has."""
        self.reason = StopReason.INTERRUPTED


class BackEnd(Protocol):
    """Solve a layer until it is proven, `seconds` are over or `stop` says so."""

    def __call__(
        self,
        problem: Problem,
        hint: Ints,
        *,
        seconds: float,
        jobs: int,
        seed: int,
        stop: Callable[[], bool],
    ) -> Answer: ...


class ModelBackEnd(Protocol):
    """The same for the rows of `solvers.exact.model`."""

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


def refusal(instance: Instance, *, communication: bool = False) -> str | None:
    """Why an exact model is out of reach, with its size; None if it is not.

    `communication` says that the back end models it.
    """
    if instance.comm is not None:
        if not communication:
            return "it has communication, which this solver leaves out; use cpsat"
        return comm_model.refusal(instance, instance.comm)
    terms = estimated_terms(instance)
    if terms > MAX_TERMS:
        return (
            f"a layer needs about {terms:.1e} coefficients, more than {MAX_TERMS:.0e}; "
            "use fewer steps (representative ones), or the solver search"
        )
    return None


def hint_for(
    instance: Instance, seed: int, start: Placement | None, stop: StopCriterion
) -> Placement:
    """A good placement to start from, found within the limits of the whole run."""
    if start is not None:
        return start
    from gemopt.front_door import solve

    # What is proven is the cost of the steps given, not of those to come.
    for name, params in (("search", {"resample": False}), ("lpt", {}), ("linear", {})):
        if name in registry.entries():
            limits = stop | MaxRuntime(_HINT_SECONDS)
            run = solve(
                instance, name, seed=seed, stop=limits, trace=False, params=params
            )
            if run.placement is not None:
                return run.placement
    raise RuntimeError("no solver found a placement to start from")


def solve_layers(
    instance: Instance,
    back_end: BackEnd,
    *,
    monitor: Monitor,
    seed: int,
    start: Placement | None,
    jobs: int,
    max_moves: int | None,
) -> Outcome:
    """Prove layer after layer, in rounds of growing time while several are open."""
    best = hint_for(instance, seed, start, monitor.stop)
    cost = evaluate(instance, best).per_layer
    monitor.improved(float(cost.sum()), best)
    one_step = _one_step_bounds(instance)
    bounds = _layer_bounds(instance, one_step)
    rows, cost = best.phy2log.copy(), cost.copy()
    problems: dict[int, Problem] = {}
    seconds = _FIRST_SLICE
    stop = Stop(monitor)

    def unproven() -> list[int]:
        gap = cost - bounds
        return np.flatnonzero(gap > PROOF_TOLERANCE * cost).tolist()

    def improve(layer: int, limit: float) -> None:
        """Work on one layer and keep what comes of it."""
        if layer not in problems:
            first = None if start is None else start.phy2log[layer]
            problems[layer] = Problem(
                instance, layer, one_step[layer], float(cost[layer]), max_moves, first
            )
        answer = back_end(
            problems[layer],
            rows[layer],
            seconds=limit,
            jobs=jobs,
            seed=seed,
            stop=stop,
        )
        bounds[layer] = max(bounds[layer], answer.bound)
        if answer.phy2log is not None:
            found = problems[layer].cost(answer.phy2log)
            if found < cost[layer]:
                rows[layer], cost[layer] = answer.phy2log, found
                better = Placement(rows.copy(), instance.slots)
                monitor.improved(float(cost.sum()), better)
        monitor.bounded(float(np.minimum(bounds, cost).sum()))

    try:
        while unproven() and not stop():
            todo = unproven()
            for layer in todo:
                improve(layer, np.inf if len(todo) == 1 else seconds)
                if stop():
                    break
            seconds *= 4.0
    except KeyboardInterrupt:
        stop.interrupt()
    placement = Placement(rows, instance.slots)
    return _outcome(placement, cost, bounds, stop.reason, max_moves)


def _outcome(
    placement: Placement,
    cost: Floats,
    bounds: Floats,
    reason: StopReason | None,
    max_moves: int | None,
) -> Outcome:
    """What is known in the end; cost and bound of each layer in us ``[layers]``."""
    proven = cost - bounds <= PROOF_TOLERANCE * cost
    if reason is None or proven.all():
        reason = StopReason.PROVEN
    total = float(np.minimum(bounds, cost).sum())
    return Outcome(
        placement,
        reason,
        # A limit on moves makes the bound one on the limited problem only.
        -np.inf if max_moves is not None else total,
        stats={"layers_proven": int(proven.sum()), "bound_within_moves": total},
    )


def _layer_bounds(instance: Instance, one_step: Floats) -> Floats:
    """Bounds of the steps, communication included, summed, us ``[layers]``."""
    communication = communication_bound(instance)
    return np.array(
        [communication.with_steps(i, steps) for i, steps in enumerate(one_step)]
    )


def _one_step_bounds(instance: Instance) -> Floats:
    """The better of water-filling and counting, us ``[layers, steps]``."""
    bounds = water_filling(instance)
    if instance.num_slots == instance.num_experts:
        for layer in range(instance.num_layers):
            bounds[layer] = count_heavy(minorant(instance, layer), bounds[layer])
    return bounds


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
        late = stop() or time.perf_counter() - began >= seconds
        if done or late or add_tangents(model, answer.phy2log) == 0:
            return best
        hint = best.phy2log if best.phy2log is not None else hint
