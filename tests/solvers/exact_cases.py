"""Checks that both exact back ends must pass."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import gemopt
from gemopt import Instance, Placement, Status, StopReason
from gemopt.latency import Line, Roofline, TokenCurve, affine
from gemopt.run import registry
from tests.bounds.test_bounds import same_gpus
from tests.brute_force import best_placement
from tests.strategies import instances, random_placement

SMALL = {"max_experts": 4, "max_gpus": 3, "max_steps": 3, "max_layers": 2}


def equals_brute_force(
    name: str, family: str, equal: bool, *, max_extra: int = 2
) -> None:
    """Prove tiny instances of one family and compare with the oracle."""
    solver = registry.entry(name).load()
    supports = solver(solver.Params()).supports

    @settings(max_examples=10)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        families = () if family == "mixed" else (family,)
        instance = data.draw(instances(families, **SMALL, max_extra=max_extra))
        instance = same_gpus(instance) if equal else instance
        assume(supports(instance) is None)
        _, optimum = best_placement(instance)
        result = gemopt.solve(instance, name, start=_worst(instance))
        assert result.objective == pytest.approx(optimum, rel=1e-6, abs=1e-6)
        assert result.lower_bound == pytest.approx(optimum, rel=2e-6, abs=1e-6)
        assert result.lower_bound <= optimum * (1 + 1e-9)
        assert result.stop_reason == StopReason.PROVEN

    check()


def _worst(instance: Instance) -> Placement:
    """A start that leaves the solver something to do."""
    rng = np.random.default_rng(0)
    drawn = [random_placement(rng, instance) for _ in range(5)]
    return max(drawn, key=lambda p: gemopt.evaluate(instance, p).objective)


def hard(experts: int = 24, steps: int = 32) -> Instance:
    """Too hard for a second."""
    counts = np.random.default_rng(5).poisson(20, (steps, 1, experts))
    return Instance.from_arrays(counts, [affine(1, 1)] * 4)


def survives_a_limit(name: str) -> None:
    """Incumbent, bound and reason are kept when time runs out."""
    gemopt.solve(hard(), "search")  # compile before the clock runs
    result = gemopt.solve(hard(), name, time_limit=0.5)
    assert result.stop_reason == StopReason.TIME
    assert result.status == Status.FEASIBLE
    assert 0 < result.lower_bound < result.objective
    assert result.seconds < 8


def obeys_moves(name: str) -> None:
    """No more than the allowed slots change, and the limit costs something."""
    counts = np.array([[[9, 8, 7, 1, 1, 1, 0, 0]]])
    instance = Instance.from_arrays(counts, [affine(0, 1)] * 2)
    start = Placement(np.arange(8)[None], instance.slots)
    free = gemopt.solve(instance, name, start=start).objective
    held = gemopt.solve(instance, name, start=start, params={"max_moves": 2})
    now = set(held.placement.gpu2experts(0)[0])
    assert len(set(range(4)) - now) == 1
    assert free < held.objective < 25
    assert held.stats["bound_within_moves"] == pytest.approx(held.objective)


def refuses_giants(name: str) -> None:
    """The message gives the size before anything is built."""
    curve = TokenCurve([(i, float(i)) for i in range(1, 60)])
    counts = np.ones((400, 1, 256), dtype=np.int64)
    instance = Instance.from_arrays(counts, [curve] * 64, slots=[5] * 64)
    with pytest.raises(ValueError, match="coefficients"):
        gemopt.solve(instance, name)


def keeps_the_incumbent_when_interrupted(name: str) -> None:
    """An observer's order ends the run with what is known."""

    class Impatient(gemopt.Observer):
        def on_progress(self, progress: object) -> bool:
            return getattr(progress, "elapsed", 0) > 0.3

    result = gemopt.solve(hard(), name, observer=Impatient())
    assert result.stop_reason == StopReason.INTERRUPTED
    assert result.placement is not None and result.lower_bound > 0


def starts_from_anywhere(name: str) -> None:
    """A start of a thousand times the optimum leaves the units fine enough."""
    smooth = Roofline(Line(18, 22, 46, 0.02), Line(1, 0, 7, 0.03), 64, 2.5)
    counts = np.array([[[296, 0]]])
    instance = Instance.from_arrays(counts, [smooth, affine(1, 900.0)], slots=[1, 1])
    start = Placement(np.array([[1, 0]]), instance.slots)
    result = gemopt.solve(instance, name, start=start, time_limit=60)
    assert result.status == Status.OPTIMAL
    assert result.objective < 0.002 * gemopt.evaluate(instance, start).objective
    assert result.seconds < 30
