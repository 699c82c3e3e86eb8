"""What the exact back ends share: hints, layer after layer, proofs, limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.bounds.communication import communication_bound
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run import registry
from gemopt.run.progress import Monitor
from gemopt.run.result import PROOF_TOLERANCE
from gemopt.run.solver import Outcome
from gemopt.run.stop import MaxRuntime, StopCriterion, StopReason
from gemopt_solvers.exact import joint as comm_model
from gemopt_solvers.exact.rows.model import MAX_TERMS, Model, estimated_terms
from gemopt_solvers.exact.rows.tangents import add_tangents, is_smooth

_HINT_SECONDS = 5.0
_FIRST_SLICE = 2.0  #: seconds of the first round over several layers
_COARSE = 0.5  #: units were chosen for a cost; below this part of it they are coarse


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
    """The same for the rows of `gemopt_solvers.exact.rows.model`."""

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
    from gemopt.run.solve import solve

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
    layers = _Layers(instance, hint_for(instance, seed, start, monitor.stop), monitor)
    seconds = _FIRST_SLICE
    stop = Stop(monitor)

    def work(layer: int, limit: float) -> None:
        first = None if start is None else start.phy2log[layer]
        problem = layers.posed(layer, max_moves, first)
        hint, began = layers.rows[layer], time.perf_counter()
        answer = back_end(problem, hint, seconds=limit, jobs=jobs, seed=seed, stop=stop)
        layers.learn(problem, answer, time.perf_counter() - began < limit)

    try:
        while (todo := layers.unproven()) and not stop():
            for layer in todo:
                work(layer, np.inf if len(todo) == 1 else seconds)
                if stop():
                    break
            seconds *= 4.0
    except KeyboardInterrupt:
        stop.interrupt()
    placement = Placement(layers.rows, instance.slots)
    return _outcome(placement, layers.cost, layers.bounds, stop.reason, max_moves)


class _Layers:
    """What is known of every layer.

    Attributes
    ----------
    rows
        Best placement, expert by slot, int64 ``[layers, slots]``.
    cost, bounds
        Its cost and what is proven, us ``[layers]``.
    """

    def __init__(self, instance: Instance, best: Placement, monitor: Monitor) -> None:
        self._instance, self._monitor = instance, monitor
        self.rows = best.phy2log.copy()
        self.cost = evaluate(instance, best).per_layer.copy()
        monitor.improved(float(self.cost.sum()), best)
        self._one_step = _one_step_bounds(instance)
        self.bounds = _layer_bounds(instance, self._one_step)
        self._problems: dict[int, Problem] = {}
        self._ended: set[int] = set()  # a back end can do no more

    def unproven(self) -> list[int]:
        """Layers on which work may still help."""
        gap = self.cost - self.bounds
        todo = np.flatnonzero(gap > PROOF_TOLERANCE * self.cost).tolist()
        return [layer for layer in todo if layer not in self._ended]

    def posed(self, layer: int, max_moves: int | None, start: Ints | None) -> Problem:
        """The problem of a layer, made when first asked for."""
        if layer not in self._problems:
            self._problems[layer] = Problem(
                self._instance,
                layer,
                self._one_step[layer],
                float(self.cost[layer]),
                max_moves,
                start,
            )
        return self._problems[layer]

    def learn(self, problem: Problem, answer: Answer, early: bool) -> None:
        """Keep what an answer is worth; `early` says that time was left."""
        layer = problem.layer
        before = self.bounds[layer], self.cost[layer]
        self.bounds[layer] = max(self.bounds[layer], answer.bound)
        if answer.phy2log is not None:
            found = problem.cost(answer.phy2log)
            if found < self.cost[layer]:
                self.rows[layer], self.cost[layer] = answer.phy2log, found
                better = Placement(self.rows.copy(), self._instance.slots)
                self._monitor.improved(float(self.cost.sum()), better)
                if found < _COARSE * problem.known:
                    del self._problems[layer]  # to be posed anew, in finer units
        if early and (self.bounds[layer], self.cost[layer]) == before:
            self._ended.add(layer)
        self._monitor.bounded(float(np.minimum(self.bounds, self.cost).sum()))


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
        reason = StopReason.PROVEN if proven.all() else StopReason.FINISHED
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
    """Best bound of each step alone, us ``[layers, steps]``."""
    flow = enumerate(water_filling(instance))
    return np.array([raised_steps(instance, layer, steps)[0] for layer, steps in flow])


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
        done = done or lowest < _COARSE * model.known
        late = stop() or time.perf_counter() - began >= seconds
        if done or late or add_tangents(model, answer.phy2log) == 0:
            return best
        hint = best.phy2log if best.phy2log is not None else hint
