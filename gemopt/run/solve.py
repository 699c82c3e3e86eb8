"""The front door: one function that runs any solver and trusts none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gemopt.bounds.lower_bound import Bound, effort_seconds, lower_bound
from gemopt.cost.evaluate import evaluate
from gemopt.model.check import require_feasible, violations
from gemopt.run import registry
from gemopt.run.auto import SEARCH, choose
from gemopt.run.improvements import Trace
from gemopt.run.observer import Observer
from gemopt.run.progress import Monitor
from gemopt.run.result import PROOF_TOLERANCE, Result, Status
from gemopt.run.solver import Outcome, make_params
from gemopt.run.stop import StopCriterion, StopReason, joined

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt.run.solver import Solver

#: Part of a time limit that is kept for a bound beyond the instant one.
BOUND_SHARE = 0.1
#: Solvers that answer at once, for runs that end without a placement.
FALLBACKS = ("linear", "eplb")


def solve(
    instance: Instance,
    solver: str | type[Solver] = "auto",
    *,
    stop: StopCriterion | None = None,
    time_limit: float | None = None,
    iterations: int | None = None,
    seed: int = 0,
    start: Placement | None = None,
    params: Mapping[str, Any] | object | None = None,
    observer: Observer | None = None,
    jobs: int = 1,
    trace: bool = True,
    bound_effort: str | float = "none",
) -> Result:
    """Find a placement.

    Parameters
    ----------
    instance
        The problem.
    solver
        A name from `gemopt.solvers()`, ``"auto"``, or a solver class.
    stop, time_limit, iterations
        Stop criterion, seconds and iterations; the first one met ends the run. Seconds
        cover search and bound, not the compiling of kernels. With iterations alone the
        answer is the same on every machine.
    seed
        Seed of all randomness, >= 0.
    start
        A feasible placement to start from; the answer is never worse.
    params
        Options of the solver: a mapping or its Params value.
    observer
        Callbacks.
    jobs
        Threads; the answer does not depend on it.
    trace
        Keep the improvements in ``Result.trace``.
    bound_effort
        Work on ``Result.lower_bound`` after the run: ``"none"`` (water-filling, some
        ms), ``"quick"``, ``"strong"`` (up to 10 s a layer), or seconds a layer. After
        Ctrl-C it is ``"none"``.

    Returns
    -------
    Result
        With the objective recomputed by `gemopt.evaluate`. Ctrl-C ends the run and
        returns the best placement so far with stop reason ``INTERRUPTED``. A solver
        that is not exact always has a placement: where it found none in its limits,
        that of `eplb` or `linear`, and ``stats["fallback"]`` names which.

    Raises
    ------
    ValueError
        Unknown solver or parameter, a start that is not feasible, or a solver that
        cannot take this instance.
    """
    if seed < 0:
        raise ValueError(f"seed = {seed} must be >= 0")
    effort_seconds(bound_effort)  # refuse a bad value before the run
    if jobs < 1:
        raise ValueError(f"jobs = {jobs} must be >= 1")
    if isinstance(solver, str):
        name = solver
        if solver == "auto":
            name = SEARCH if params else choose(instance, time_limit)
        cls = registry.entry(name).load()
    else:
        name, cls = solver.name, solver
    chosen = cls(make_params(cls, params))
    if start is not None:
        require_feasible(instance, start)
    given, instance = instance, _served(instance, name, cls)
    reason = chosen.supports(instance)
    if reason is not None:
        raise ValueError(f"solver {name} cannot take this instance: {reason}")
    bounded = bound_effort != "none" and not cls.exact
    share = 1 - BOUND_SHARE if bounded else 1.0
    seconds = None if time_limit is None else time_limit * share
    criterion = joined(stop, seconds, iterations)
    monitor = Monitor(criterion, observer or Observer(), trace, heuristic)
    monitor.observer.on_start(instance, name)
    try:
        outcome = chosen.solve(
            instance, monitor=monitor, seed=seed, start=start, jobs=jobs
        )
    except KeyboardInterrupt:
        outcome = Outcome(
            monitor.placement,
            StopReason.INTERRUPTED,
            monitor.bound,
            iterations=monitor.iteration,
        )
    outcome = _usable(outcome, name, twin=instance is not given)
    if start is None and not cls.exact:
        outcome = _fallback(instance, monitor, outcome)
    result = _result(
        given, name, seed, start, monitor, outcome, bound_effort, time_limit
    )
    monitor.observer.on_end(result)
    return result


def _served(instance: Instance, name: str, solver: type[Solver]) -> Instance:
    """Return what a solver is given: the instance, or its twin with the even split."""
    if instance.splits_evenly or instance.dispatch in getattr(
        solver, "dispatches", ("even",)
    ):
        return instance
    if solver.exact:
        raise ValueError(
            f"solver {name} proves optima of dispatch 'even' alone, not of "
            f"{instance.dispatch!r}; take a heuristic, or with_dispatch('even')"
        )
    return instance.with_dispatch("even")


def _usable(outcome: object, name: str, *, twin: bool) -> Outcome:
    if not isinstance(outcome, Outcome):
        kind = type(outcome).__name__
        raise RuntimeError(f"solver {name} returned a {kind}, needs a gemopt Outcome")
    if twin:  # what it claims holds for another dispatch
        outcome = replace(outcome, lower_bound=-math.inf)
    return outcome


def _fallback(instance: Instance, monitor: Monitor, outcome: Outcome) -> Outcome:
    """Give a run that found nothing the better of two instant placements."""
    if outcome.placement is not None or outcome.infeasible:
        return outcome
    best, cost, chosen = None, math.inf, ""
    for name in FALLBACKS:
        cls = registry.entry(name).load()
        solver = cls(cls.Params())
        if solver.supports(instance) is not None:
            continue
        quiet = Monitor(joined(None), keep_trace=False)
        solver.solve(instance, monitor=quiet, seed=0, start=None, jobs=1)
        if quiet.best < cost:
            best, cost, chosen = quiet.placement, quiet.best, name
    if best is None:
        return outcome
    stats = {**outcome.stats, "fallback": chosen}
    outcome = replace(outcome, placement=best, stats=stats)
    try:
        monitor.improved(cost, best)
    except KeyboardInterrupt:
        outcome = replace(outcome, stop_reason=StopReason.INTERRUPTED)
    return outcome


def heuristic(
    instance: Instance,
    *,
    seed: int,
    stop: StopCriterion | None = None,
    thorough: bool = False,
) -> Placement | None:
    """Find a good placement for the steps given, not for those to come."""
    params: dict[str, Any] = {"resample": False}
    if thorough:
        params["preset"] = "best"
    for name, options in ((SEARCH, params), ("lpt", {}), ("linear", {})):
        if name in registry.entries():
            run = solve(
                instance, name, seed=seed, stop=stop, trace=False, params=options
            )
            if run.placement is not None:
                return run.placement
    return None


def _proven(
    instance: Instance,
    monitor: Monitor,
    outcome: Outcome,
    bound_effort: str | float,
    time_limit: float | None,
    placement: Placement | None,
) -> tuple[Bound, StopReason]:
    """Bound the objective in what is left of the time; say why the run ended."""
    stop_reason = outcome.stop_reason
    left = None if time_limit is None else time_limit - monitor.elapsed
    if stop_reason == StopReason.INTERRUPTED or (left is not None and left <= 0):
        bound_effort = "none"
    try:
        proven = lower_bound(
            instance,
            bound_effort,
            placement=placement,
            time_limit=left,
            progress=monitor.observer.on_bound,
        )
    except KeyboardInterrupt:  # nothing found is lost
        stop_reason = StopReason.INTERRUPTED
        proven = lower_bound(instance, "none", placement=placement)
    return proven, stop_reason


def _result(
    instance: Instance,
    name: str,
    seed: int,
    start: Placement | None,
    monitor: Monitor,
    outcome: Outcome,
    bound_effort: str | float,
    time_limit: float | None,
) -> Result:
    """Recompute the solver's claims and settle what is known."""
    seconds = monitor.elapsed
    placement, objective = outcome.placement, math.inf
    if placement is not None:
        broken = violations(instance, placement)
        if broken:
            raise RuntimeError(
                f"solver {name} returned an infeasible placement: {broken[0]}"
            )
        objective = evaluate(instance, placement).objective
    if start is not None:
        before = evaluate(instance, start).objective
        if before <= objective:
            placement, objective = start, before
    before_bound = monitor.elapsed
    proven, stop_reason = _proven(
        instance, monitor, outcome, bound_effort, time_limit, placement
    )
    bound_seconds = monitor.elapsed - before_bound
    bound = max(outcome.lower_bound, proven.value)
    if bound > objective * (1 + PROOF_TOLERANCE):
        raise RuntimeError(f"lower bound {bound} of {name} exceeds {objective} us")
    bound = min(bound, objective)  # rounding may put a tight bound a hair above
    if outcome.infeasible and placement is None:
        status = Status.INFEASIBLE
    elif placement is None:
        status = Status.NO_SOLUTION
    elif objective - bound <= PROOF_TOLERANCE * abs(objective):
        status = Status.OPTIMAL
    else:
        status = Status.FEASIBLE
    return Result(
        placement=placement,
        objective=objective,
        lower_bound=bound,
        status=status,
        stop_reason=stop_reason,
        seconds=seconds,
        iterations=outcome.iterations,
        solver=name,
        seed=seed,
        stats=dict(outcome.stats),
        trace=Trace(tuple(monitor.points)),
        bound_seconds=bound_seconds,
        compile_seconds=monitor.compiling,
    )
