"""The largest valid lower bound for the time that one is willing to spend."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gemopt.bounds.colocation.certificate import Certificate
from gemopt.bounds.colocation.program import Program, program
from gemopt.bounds.communication import communication_bound
from gemopt.bounds.sets.bound import (
    MOST_WORK,
    SECONDS_EACH,
    SetCertificate,
    enumeration,
    set_program,
)
from gemopt.bounds.steps.assignment import MOST_WORK as MOST_ASSIGNED
from gemopt.bounds.steps.assignment import work as assignment_work
from gemopt.bounds.steps.minorant import Floats, minorant
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement

#: Seconds a layer may take at each named effort; "quick" stops after counting.
EFFORTS = {"none": 0.0, "quick": 0.0, "strong": 10.0}
NAMES = {Certificate: "co-location", SetCertificate: "sets", type(None): "co-location"}
_ENDLESS = 10**9
_ABOVE = 1 + 1e-9  #: rounding may put a tight bound so far above a cost
_LARGEST = 1e300  #: us; a bound above it comes from an overflow
_Found = tuple[float, str, Certificate | SetCertificate | None]
_BEFORE_SETS = 0.3  #: part of the time for co-location where sets follow


@dataclass(frozen=True)
class Bound:
    """A proven lower bound on the objective of an instance.

    Attributes
    ----------
    value
        Sum of `per_layer`, us.
    per_layer
        Bound of each layer, us ``[layers]``.
    kind
        Which bound won in each layer: "water filling", "assignment", "counting",
        "co-location" or "sets"; "none" where floating point defeats all of them.
    certificates
        For the last two, the dual point that proves it; None otherwise.
    working
        Times at which curved latencies were replaced by lines, us ``[layers, steps]``.
    """

    value: float
    per_layer: Floats
    kind: tuple[str, ...]
    certificates: tuple[Certificate | SetCertificate | None, ...]
    working: Floats


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def lower_bound(
    instance: Instance,
    effort: str | float = "quick",
    *,
    placement: Placement | None = None,
    time_limit: float | None = None,
    iterations: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, layers: None,
) -> Bound:
    """Bound the objective from below.

    Parameters
    ----------
    instance
        The problem; where its dispatch is not the even split, water-filling alone is
        valid, and all that is done. Communication is bounded apart, see
        `gemopt.bounds.communication`, and joined with the bound on compute.
    effort
        ``"none"`` (water-filling), ``"quick"`` (and assigning experts where latency
        depends on tiles or active experts and this takes at most some 10 s in all, and
        counting heavy ones, without replicas), ``"strong"`` (and the co-location
        bound, raised by sets of experts where these can be enumerated, 10 s a layer),
        or the seconds that these two may take in each layer.
    placement
        A good placement: both start from it. A bound above its cost, which only
        rounding can bring about, is left out, as is one that is not finite.
    time_limit
        Seconds for all layers together, shared out evenly.
    iterations
        Largest number of first-order iterations a layer; with it and
        ``effort=math.inf`` the bound does not depend on the machine's speed.
    stop
        Polled; True ends the work with the bound so far.
    progress
        Called with the layers done and all of them, before each layer.

    Raises
    ------
    ValueError
        An effort that is neither known nor a number of seconds >= 0.
    """
    seconds = effort_seconds(effort)
    began = time.perf_counter()
    layers = instance.num_layers
    communication = communication_bound(instance)
    most = _known(instance, placement)
    instance = instance.without_communication()
    one_step = water_filling(instance)
    values, kinds, duals = [], [], []
    assign = effort != "quick" or layers * assignment_work(instance) <= MOST_ASSIGNED
    working = _working(instance, one_step, placement)
    for layer in range(layers):
        progress(layer, layers)
        bound, kind = one_step[layer], "water filling"
        late = time_limit is not None and time.perf_counter() - began > time_limit
        if effort != "none" and not late:
            bound, kind = raised_steps(instance, layer, bound, assign=assign)
        found: list[_Found] = [
            (communication.with_steps(layer, one_step[layer]), "water filling", None),
            (communication.with_steps(layer, bound), kind, None),
        ]
        share = seconds if instance.splits_evenly else 0.0
        if time_limit is not None:
            left = time_limit - (time.perf_counter() - began)
            share = min(share, left / (layers - layer))
        if share > 0 and instance.num_gpus > 1 and not stop():
            try:
                summed, certificate = _co_location(
                    instance,
                    layer,
                    bound,
                    working[layer],
                    placement,
                    share,
                    iterations,
                    stop,
                )
            except np.linalg.LinAlgError:  # numbers too far apart for eigenvalues
                summed, certificate = 0.0, None
            joint = communication.with_sum(layer, summed)
            found.append((joint, NAMES[type(certificate)], certificate))
        trusted = [each for each in found if each[0] <= most[layer] * _ABOVE]
        best = max(trusted, key=lambda each: each[0], default=(0.0, "none", None))
        values.append(best[0])
        kinds.append(best[1])
        duals.append(best[2])
    total = float(np.sum(values))
    return Bound(total, np.array(values), tuple(kinds), tuple(duals), working)


def effort_seconds(effort: str | float) -> float:
    """Seconds a layer that an effort allows for the co-location bound."""
    if isinstance(effort, str):
        if effort not in EFFORTS:
            known = ", ".join(EFFORTS)
            raise ValueError(f"effort {effort!r} must be {known} or seconds a layer")
        return EFFORTS[effort]
    if not effort >= 0 or isinstance(effort, bool):
        raise ValueError(f"effort = {effort} must be a number of seconds >= 0")
    return float(effort)


def layer_program(
    instance: Instance, layer: int, bound: Floats, working: Floats
) -> Program:
    """Build the co-location program of one layer."""
    return program(minorant(instance, layer), bound, working, instance.weights)


def _known(instance: Instance, placement: Placement | None) -> Floats:
    """Cost of a placement, which no bound can exceed, us ``[layers]``."""
    if placement is None:
        return np.full(instance.num_layers, _LARGEST)
    from gemopt.cost.evaluate import evaluate

    return np.minimum(evaluate(instance, placement).per_layer, _LARGEST)


def _co_location(
    instance: Instance,
    layer: int,
    bound: Floats,
    working: Floats,
    placement: Placement | None,
    seconds: float,
    iterations: int | None,
    stop: Callable[[], bool],
) -> tuple[float, Certificate | SetCertificate | None]:
    """Best of bounds C and D, us, and what proves it."""
    from gemopt.bounds.colocation.first_order import solve

    began = time.perf_counter()
    shares, target = _even(instance), math.inf
    if placement is not None:
        from gemopt.cost.evaluate import layer_cost

        row = placement.phy2log[layer]
        target = layer_cost(instance, layer, row)
        shares = np.zeros_like(shares)
        copies = np.bincount(row, minlength=len(shares))
        np.add.at(shares, (row, instance.slot2gpu), 1 / copies[row])
    least = minorant(instance, layer)
    p = program(least, bound, working, instance.weights)
    work = enumeration(least)
    sets = not p.replicas and work <= MOST_WORK and work * SECONDS_EACH < 0.3 * seconds
    solved = solve(
        p,
        p.matrix(shares),
        seconds=_BEFORE_SETS * seconds if sets else seconds,
        iterations=_ENDLESS if iterations is None else iterations,
        target=target,
        stop=stop,
    )
    first = solved.value, solved.certificate
    if not sets or solved.certificate is None or solved.value >= target * (1 - 1e-9):
        return first
    from gemopt.bounds.sets.solver import from_co_location, solve_sets

    d = set_program(least, bound, working, instance.weights)
    last = solve_sets(
        d,
        from_co_location(d, p, solved.certificate),
        shares if placement is not None else None,
        seconds=seconds - (time.perf_counter() - began),
        rounds=_ENDLESS if iterations is None else iterations // 20,
        stop=stop,
    )
    return max(first, last, key=lambda found: found[0])


def _working(
    instance: Instance, one_step: Floats, placement: Placement | None
) -> Floats:
    """Expected time of every layer and step: the placement's, or bound + 5 %."""
    if placement is None:
        return 1.05 * one_step
    from gemopt.cost.evaluate import evaluate

    return evaluate(instance, placement).per_gpu.max(axis=2).T


def _even(instance: Instance) -> Floats:
    """Every expert spread over all GPUs by their slots."""
    part = instance.slots / instance.num_slots
    return np.tile(part, (instance.num_experts, 1))
