"""Prove an instance layer after layer, in rounds, whatever the back end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.bounds.communication import communication_bound
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.cost.evaluate import evaluate
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.progress import Monitor
from gemopt.run.result import PROOF_TOLERANCE
from gemopt.run.solver import NoParams, Outcome
from gemopt.run.stop import MaxRuntime, StopReason
from gemopt_solvers.exact.backend import COARSE, Answer, BackEnd, Problem

_HINT_SECONDS = 5.0
_FIRST_SLICE = 2.0  #: seconds of the first round over several layers


class ExactSolver(ABC):
    """Prove layer after layer with one back end; subclasses name it.

    Optima are proven whatever `jobs`; of several equally good placements, threads may
    find another one first. Runs with a time limit are not repeatable to the byte:
    adapters of engines never use these solvers.
    """

    exact: ClassVar[bool] = True
    Params: ClassVar[type[Any]] = NoParams

    def __init__(self, params: Any) -> None:
        self.params = params

    @abstractmethod
    def back_end(self, instance: Instance) -> BackEnd:
        """What proves a layer of the instance."""

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Prove in rounds of growing time while several layers are open."""
        back_end, stop = self.back_end(instance), Stop(monitor)
        max_moves = getattr(self.params, "max_moves", None)
        layers = _Layers(instance, _hint(instance, monitor, seed, start), monitor)
        seconds = _FIRST_SLICE

        def work(layer: int, limit: float) -> None:
            first = None if start is None else start.phy2log[layer]
            problem = layers.posed(layer, max_moves, first)
            hint, began = layers.phy2log[layer], time.perf_counter()
            answer = back_end(
                problem, hint, seconds=limit, jobs=jobs, seed=seed, stop=stop
            )
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
        placement = Placement(layers.phy2log, instance.slots)
        return _outcome(placement, layers.cost, layers.bounds, stop.reason, max_moves)


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


def _hint(
    instance: Instance, monitor: Monitor, seed: int, start: Placement | None
) -> Placement:
    """A good placement to start from, found within the limits of the whole run."""
    if start is not None:
        return start
    limits = monitor.stop | MaxRuntime(_HINT_SECONDS)
    found = monitor.heuristic(instance, seed=seed, stop=limits)
    if found is None:
        raise RuntimeError("no solver found a placement to start from")
    return found


class _Layers:
    """What is known of every layer.

    Attributes
    ----------
    phy2log
        Best placement, expert by slot, int64 ``[layers, slots]``.
    cost, bounds
        Its cost and what is proven, us ``[layers]``.
    """

    def __init__(self, instance: Instance, best: Placement, monitor: Monitor) -> None:
        self._instance, self._monitor = instance, monitor
        self.phy2log = best.phy2log.copy()
        self.cost = evaluate(instance, best).per_layer.copy()
        monitor.improved(float(self.cost.sum()), best)
        self._one_step = _one_step_bounds(instance)
        self.bounds = _layer_bounds(instance, self._one_step)
        # A bound that rounding has put above a cost proves nothing.
        self.bounds[~(self.bounds <= self.cost * (1 + PROOF_TOLERANCE))] = 0.0
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
                self._monitor.heuristic,
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
                self.phy2log[layer], self.cost[layer] = answer.phy2log, found
                better = Placement(self.phy2log.copy(), self._instance.slots)
                self._monitor.improved(float(self.cost.sum()), better)
                if found < COARSE * problem.known:
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
