"""The contract that every solver keeps, as checks that third parties can run.

With pytest::

    @pytest.mark.parametrize("check", gemopt.testing.CHECKS)
    def test_contract(check):
        for instance in gemopt.testing.contract_instances():
            check("mine", instance)

or all at once, without pytest: ``gemopt.testing.check_solver("mine")``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gemopt.cost.evaluate import evaluate
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run import registry
from gemopt.run.observer import Observer
from gemopt.run.result import Result, Status
from gemopt.run.solve import solve
from gemopt.run.solver import Solver
from gemopt.run.stop import Progress, StopReason

SolverLike = str | type[Solver]

#: Iterations of every run whose answer must not depend on the machine.
ITERATIONS = 3
#: Seconds by which a run may overshoot its time limit (a slow, shared machine).
SLACK_SECONDS = 1.0
_RELATIVE = 1e-9


class ContractBroken(AssertionError):
    """A solver breaks the contract; the message says how and on which instance."""


def check_solver(
    solver: SolverLike, instances: Iterable[Instance] | None = None
) -> None:
    """Run every check on every instance.

    Parameters
    ----------
    solver
        A registered name or a solver class.
    instances
        Instances to run on; None means `contract_instances`.

    Raises
    ------
    ContractBroken
        At the first broken rule.
    """
    check_declarations(solver)
    for instance in contract_instances() if instances is None else instances:
        for check in CHECKS:
            check(solver, instance)


@dataclass(frozen=True)
class Rule:
    """What came of one check.

    Attributes
    ----------
    name, rule
        The check, and what it demands in a line.
    instances
        Instances on which it passed.
    fault
        How and where the solver breaks it, or None.
    """

    name: str
    rule: str
    instances: int
    fault: str | None = None


def contract_report(
    solver: SolverLike, instances: Iterable[Instance] | None = None
) -> list[Rule]:
    """Run every check, each to its first fault, whatever the solver raises.

    Parameters
    ----------
    solver, instances
        As in `check_solver`.

    Returns
    -------
    list of Rule
        One for each check, in the order of `CHECKS`; a solver that cannot be loaded
        or is declared wrongly gets one alone.
    """
    cases = list(contract_instances() if instances is None else instances)
    rules = [_rule(check_declarations, solver, [None])]
    if rules[0].fault is None:
        rules += [_rule(check, solver, cases) for check in CHECKS]
    return rules


def _rule(
    check: Callable[..., None],
    solver: SolverLike,
    cases: Sequence[Instance | None],
) -> Rule:
    text = (check.__doc__ or "").partition("\n")[0]
    for done, instance in enumerate(cases):
        try:
            check(solver, *([] if instance is None else [instance]))
        except ContractBroken as broken:
            return Rule(check.__name__, text, done, str(broken))
        except Exception as error:  # whatever a foreign solver raises is its fault
            where = "" if instance is None else f" on {instance.name!r}"
            fault = f"raises {type(error).__name__}{where}: {error}"
            return Rule(check.__name__, text, done, fault)
    return Rule(check.__name__, text, len(cases))


def contract_instances() -> list[Instance]:
    """Tiny instances: every latency family, replicas, unequal and single slots."""
    step = [TokenCurve([(8, 10 + g), (16, 14), (40, 22 + 3 * g)]) for g in range(3)]
    dips = [
        TokenCurve([(4, 9), (12, 15), (20, 11 + g), (64, 30)], "linear")
        for g in range(3)
    ]
    tiles = [TileActive(3, 1.5, 2, 0.1 * (g + 1), tile=8) for g in range(3)]
    memory, compute = Line(2, 1.5), Line(1, 0, 0, 0.4)
    roofs: list[LatencyModel] = [
        Roofline(memory, compute, tile=8),
        Roofline(memory, compute, tile=8, power=4),
        Roofline(memory, Line(1, 0, 0, 0.6), tile=16),
    ]
    regimes = [Regimes([(40, tiles[g]), (70, roofs[g]), (90, dips[g])]) for g in (0, 1)]
    lines = [affine(5 + g, 0.3 + 0.1 * g) for g in range(4)]
    three = [2, 2, 2]
    return [
        _made("step curves", 6, step, slots=three, layers=2),
        _made("curves that dip", 6, dips, slots=three),
        _made("tiles and active experts", 6, tiles, slots=three, layers=2),
        _made("rooflines", 6, roofs, slots=[1, 2, 3]),
        _made("regimes", 5, regimes, slots=[3, 2], layers=2),
        _made("replicas", 5, lines[:3], slots=[3, 3, 3], layers=2),
        _made("replicas, unequal slots", 5, lines[:3], slots=[5, 2, 1]),
        _made("one slot each", 4, lines, slots=[1, 1, 1, 1]),
        _made("one GPU", 3, lines[:1], slots=[3]),
        _made("a GPU without slots", 4, lines[:3], slots=[2, 0, 2]),
        _made("weights", 6, step, slots=three, weights=[0, 1, 2.5, 0.5, 1, 0]),
        _made("silent", 4, lines[:2], slots=[2, 2], scale=0.0),
        _made("two hosts", 8, lines, slots=[2, 2, 2, 2], node=[0, 0, 1, 1]),
    ]


def _made(
    name: str,
    experts: int,
    latency: Iterable[LatencyModel],
    *,
    layers: int = 1,
    scale: float = 6.0,
    **options: Any,
) -> Instance:
    """Make six steps of skewed traffic, the same on every machine."""
    rng = np.random.default_rng(20260530)
    heat = scale * 3.0 * rng.random(experts) ** 2
    counts = np.floor(heat * rng.integers(0, 4, (6, layers, experts)))
    return Instance.from_arrays(counts, list(latency), name=name, **options)


def check_declarations(solver: SolverLike) -> None:
    """Class attributes exist, `Params` is frozen, and ``__init__`` only stores it."""
    cls = _class_of(solver)
    for attribute in ("name", "summary", "exact", "Params", "supports", "solve"):
        there = hasattr(cls, attribute)
        _demand(there, solver, f"has no {attribute}; derive from gemopt.run.BaseSolver")
    _demand(isinstance(cls.name, str) and cls.name != "", solver, "has no name")
    _demand(isinstance(cls.summary, str), solver, "has no summary")
    _demand(isinstance(cls.exact, bool), solver, "exact is not a bool")
    settings = getattr(cls.Params, "__dataclass_params__", None)
    frozen = settings is not None and settings.frozen
    _demand(frozen, solver, "Params is not a frozen dataclass")
    if isinstance(solver, str):
        _demand(cls.name == solver, solver, f"is registered as {solver!r}")


def check_support(solver: SolverLike, instance: Instance) -> None:
    """`supports` says None or why not, and the front door then refuses politely."""
    reason = _reason_against(solver, instance)
    if reason is None:
        return
    _demand(isinstance(reason, str) and reason, solver, "gives no reason", instance)
    try:
        solve(instance, solver, iterations=1)
    except ValueError as error:
        _demand(reason in str(error), solver, "hides its reason", instance)
        return
    raise ContractBroken(f"{solver} was not refused on {instance.name!r}")


def check_answer(solver: SolverLike, instance: Instance) -> None:
    """The answer is feasible, its claims honest, and observers hear of it."""
    if _reason_against(solver, instance) is not None:
        return
    heard = _Heard(instance)
    result = _run(solver, instance, observer=heard)
    _demand(heard.starts == 1, solver, f"{heard.starts} calls of on_start", instance)
    _demand(heard.ends == [result], solver, "on_end heard another result", instance)
    for told, real in heard.objectives:
        honest = math.isclose(told, real, rel_tol=_RELATIVE, abs_tol=_RELATIVE)
        _demand(honest, solver, f"reported {told} us for {real} us", instance)
    if result.placement is None:
        silent = result.status in (Status.NO_SOLUTION, Status.INFEASIBLE)
        _demand(silent, solver, f"no placement, yet {result.status}", instance)
        return
    _demand(bool(heard.objectives), solver, "reported no placement", instance)
    told_best = heard.objectives[-1][0]
    kept = result.objective <= told_best * (1 + _RELATIVE) + _RELATIVE
    _demand(kept, solver, f"returned worse than the {told_best} it had", instance)
    bound = f"bound {result.lower_bound} above {result.objective}"
    _demand(result.lower_bound <= result.objective, solver, bound, instance)
    if result.status == Status.OPTIMAL:
        _demand(result.gap <= 1e-6, solver, "optimal with a gap", instance)


def check_limits(solver: SolverLike, instance: Instance) -> None:
    """Limits of iterations and of time are kept."""
    if _reason_against(solver, instance) is not None:
        return
    for limit in (0, 1, ITERATIONS):
        done = _run(solver, instance, iterations=limit).iterations
        _demand(done <= limit, solver, f"{done} of {limit} iterations", instance)
    limit_seconds = 0.05
    seconds = solve(instance, solver, time_limit=limit_seconds).seconds
    kept = seconds <= limit_seconds + SLACK_SECONDS
    _demand(kept, solver, f"{seconds:.2f} s of {limit_seconds} s", instance)


def check_repeatable(solver: SolverLike, instance: Instance) -> None:
    """Seed and iterations settle every byte, whatever the threads."""
    if _reason_against(solver, instance) is not None:
        return
    first = _run(solver, instance, seed=5)
    for jobs in (1, 3):
        again = _run(solver, instance, seed=5, jobs=jobs)
        same = again.placement == first.placement
        _demand(same, solver, f"another answer with {jobs} threads", instance)
        same = again.objective == first.objective
        _demand(same, solver, f"another objective with {jobs} threads", instance)


def check_start(solver: SolverLike, instance: Instance) -> None:
    """A start is never made worse, be it poor or the best known."""
    if _reason_against(solver, instance) is not None:
        return
    worst = _wrapped(instance)
    answer = _run(solver, instance, seed=1, start=worst)
    before = evaluate(instance, worst).objective
    _demand(answer.objective <= before, solver, "made a start worse", instance)
    again = _run(solver, instance, seed=2, start=answer.placement)
    kept = again.objective <= answer.objective
    _demand(kept, solver, "made its own answer worse", instance)


def check_instance_unchanged(solver: SolverLike, instance: Instance) -> None:
    """Nothing in the instance changes."""
    if _reason_against(solver, instance) is not None:
        return
    before = _content(instance)
    _run(solver, instance)
    _demand(_content(instance) == before, solver, "changed the instance", instance)


def check_interrupt(solver: SolverLike, instance: Instance) -> None:
    """Stopping from an observer or with Ctrl-C hands back the best so far."""
    if _reason_against(solver, instance) is not None:
        return
    asked = _Heard(instance, interrupt=True)
    result = _run(solver, instance, observer=asked)
    if asked.polls:
        reasons = (StopReason.INTERRUPTED, StopReason.PROVEN, StopReason.FINISHED)
        ok = result.stop_reason in reasons
        _demand(ok, solver, f"interrupted, yet {result.stop_reason}", instance)
        ok = asked.polls <= instance.num_layers + 1
        _demand(ok, solver, f"went on for {asked.polls} polls", instance)
    pressed = _Heard(instance, press=True)
    result = _run(solver, instance, observer=pressed)
    if pressed.objectives:
        ok = result.stop_reason == StopReason.INTERRUPTED
        _demand(ok, solver, f"swallowed Ctrl-C: {result.stop_reason}", instance)
        ok = result.placement is not None
        _demand(ok, solver, "lost its placement on Ctrl-C", instance)


#: Every check that runs on an instance; call them as ``check(solver, instance)``.
CHECKS = (
    check_support,
    check_answer,
    check_limits,
    check_repeatable,
    check_start,
    check_instance_unchanged,
    check_interrupt,
)


class _Heard(Observer):
    """Keeps what a solver reports, each claim beside the truth."""

    def __init__(
        self, instance: Instance, *, interrupt: bool = False, press: bool = False
    ) -> None:
        self.instance = instance
        self.interrupt, self.press = interrupt, press
        self.starts = self.polls = 0
        self.objectives: list[tuple[float, float]] = []
        self.ends: list[Result] = []

    def on_start(self, instance: Instance, solver: str) -> None:
        self.starts += 1

    def on_progress(self, progress: Progress) -> bool:
        self.polls += 1
        return self.interrupt

    def on_best(self, progress: Progress, placement: Placement) -> None:
        real = evaluate(self.instance, placement).objective
        self.objectives.append((progress.best, real))
        if self.press:
            raise KeyboardInterrupt

    def on_end(self, result: Result) -> None:
        self.ends.append(result)


def _run(solver: SolverLike, instance: Instance, **options: Any) -> Result:
    options.setdefault("iterations", ITERATIONS)
    result = solve(instance, solver, **options)
    if result.placement is not None:
        broken = violations(instance, result.placement)
        _demand(not broken, solver, f"infeasible: {broken}", instance)
        real = evaluate(instance, result.placement).objective
        claim = f"claims {result.objective} us for {real} us"
        _demand(result.objective == real, solver, claim, instance)
    return result


def _class_of(solver: SolverLike) -> type[Solver]:
    return registry.entry(solver).load() if isinstance(solver, str) else solver


def _reason_against(solver: SolverLike, instance: Instance) -> str | None:
    cls = _class_of(solver)
    return cls(cls.Params()).supports(instance)


def _wrapped(instance: Instance) -> Placement:
    """Experts in falling order, wrapping round: feasible and seldom good."""
    row = np.arange(instance.num_slots)[::-1] % instance.num_experts
    return Placement(np.tile(row, (instance.num_layers, 1)), instance.slots)


def _content(instance: Instance) -> tuple[object, ...]:
    arrays = (instance.loads, instance.slots, instance.node, instance.weights)
    tables = tuple(part.tobytes() for part in instance.tables)
    return (*(array.tobytes() for array in arrays), instance.latency, tables)


def _demand(
    fact: object, solver: SolverLike, fault: str, instance: Instance | None = None
) -> None:
    if not fact:
        name = solver if isinstance(solver, str) else solver.__name__
        where = "" if instance is None else f" on {instance.name!r}"
        raise ContractBroken(f"solver {name}{where}: {fault}")
