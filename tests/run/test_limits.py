"""Time limits: always a placement, the bound inside, compiling outside."""

from dataclasses import dataclass, replace

import pytest

import gemopt
from gemopt import jit
from gemopt.run import BaseSolver, Monitor, Outcome
from gemopt.run.stop import MaxRuntime, StopReason
from gemopt.testing import contract_instances


class Empty(BaseSolver):
    """Finds nothing."""

    name, summary = "empty", "finds nothing"

    def solve(self, instance, *, monitor, seed, start, jobs):
        """Give up."""
        return Outcome(None, StopReason.TIME)


class EmptyExact(Empty):
    """Finds nothing, and is exact."""

    exact = True


@pytest.mark.parametrize("instance", contract_instances(), ids=lambda i: i.name)
def test_a_run_never_ends_with_nothing(instance):
    """A solver without a placement gets an instant one, and observers hear of it."""
    told = []

    class Heard(gemopt.Observer):
        def on_best(self, progress, placement):
            told.append((progress.best, placement))

    result = gemopt.solve(instance, Empty, observer=Heard())
    assert told == [(result.objective, result.placement)]
    assert result.stats["fallback"] in ("linear", "eplb")
    assert result.objective <= gemopt.solve(instance, "linear").objective


def test_exact_solvers_and_starts_get_no_fallback():
    """An exact solver may end with nothing; a start is kept."""
    instance = contract_instances()[0]
    assert gemopt.solve(instance, EmptyExact).status == "no_solution"
    start = gemopt.solve(instance, "lpt").placement
    result = gemopt.solve(instance, Empty, start=start)
    assert result.placement == start
    assert "fallback" not in result.stats


@pytest.mark.parametrize("solver", ["search", "gem", "lpt", "random"])
def test_no_time_at_all_still_gives_a_placement(solver):
    """A limit of zero seconds or iterations ends with a placement."""
    instance = contract_instances()[5]
    for limit in ({"time_limit": 0.0}, {"iterations": 0}):
        result = gemopt.solve(instance, solver, bound_effort="quick", **limit)
        assert result.status in ("feasible", "optimal")


@dataclass
class Clock:
    """Time and compile seconds that a test sets."""

    now: float = 0.0
    compiled: float = 0.0


def test_compiling_does_not_count(monkeypatch):
    """The monitor's clock stands still while kernels compile."""
    clock = Clock()
    monkeypatch.setattr("gemopt.run.progress.time.perf_counter", lambda: clock.now)
    monkeypatch.setattr("gemopt.run.progress.compile_seconds", lambda: clock.compiled)
    monitor = Monitor(MaxRuntime(5), _start=0.0, _compiled=0.0)
    clock.now, clock.compiled = 64.0, 60.0
    assert (monitor.elapsed, monitor.compiling) == (4.0, 60.0)
    assert monitor.stop_reason(1) is None
    clock.now = 65.0
    assert monitor.stop_reason(2) == StopReason.TIME


def test_the_bound_ends_with_the_limit(monkeypatch):
    """What is left of the limit goes to the bound; without any it is instant."""
    given = []
    real = gemopt.lower_bound

    def spy(instance, effort, **options):
        given.append((effort, options.get("time_limit")))
        return real(instance, effort, **options)

    monkeypatch.setattr("gemopt.run.solve.lower_bound", spy)
    instance = contract_instances()[0]
    gemopt.solve(instance, "linear", time_limit=100.0, bound_effort="quick")
    gemopt.solve(instance, "linear", time_limit=0.0, bound_effort="strong")
    (effort, left), (late, _) = given
    assert effort == "quick"
    assert 0 < left <= 100
    assert late == "none"


def test_compiling_is_announced_once(monkeypatch):
    """The first kernel that compiles is told, the next ones are not."""
    monkeypatch.setattr(jit, "_CLOCK", jit._CompileClock())
    told = []
    jit.announce_compiling(lambda: told.append(1))
    for _ in range(2):
        jit._CLOCK.on_start(None)
        jit._CLOCK.on_end(None)
    assert told == [1]


def test_the_summary_says_how_time_was_spent():
    """Parts that took time are named; no placement is no infinite cost."""
    instance = contract_instances()[0]
    result = gemopt.solve(instance, "linear")
    spent = replace(result, bound_seconds=2.0, compile_seconds=30.0)
    assert ", bound 2.0 s, compiling 30.0 s (finished)" in spent.summary()
    nothing = gemopt.solve(instance, EmptyExact).summary()
    assert nothing.startswith("empty: no solution, ")
    assert "inf" not in nothing
