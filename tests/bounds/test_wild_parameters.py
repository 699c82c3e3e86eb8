"""Bounds stay below the optimum where latencies are tiny, huge, unlike or bent."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemopt
from gemopt import Instance, Placement
from gemopt.bounds import lower_bound
from gemopt.latency import LatencyModel, Line, Regimes, Roofline, TileActive, TokenCurve
from tests.brute_force import best_placement
from tests.strategies import slot_counts

#: Zero, from microscopic to huge, and near the ends of float64.
US = st.one_of(
    st.just(0.0),
    st.floats(-14.0, 12.0).map(lambda x: 10.0**x),
    st.floats(-300.0, 290.0).map(lambda x: 10.0**x),
)
POWER = st.floats(1.0, 64.0, exclude_min=True) | st.floats(-15.0, 0.0).map(
    lambda x: 1.0 + 10.0**x
)
TILE = st.sampled_from([1, 7, 64, 4096])
LINE = st.builds(Line, US, US, US, US)
ROOFLINE = (
    st.tuples(LINE, LINE, TILE, st.none() | POWER)
    .filter(lambda x: x[0].any_positive() or x[1].any_positive())
    .map(lambda x: Roofline(*x))
)
TILES = (
    st.tuples(US, US, US, US, TILE)
    .filter(lambda x: any(x[:4]))
    .map(lambda x: TileActive(*x))
)
CURVE = st.tuples(
    st.lists(US, min_size=1, max_size=4).filter(any),
    st.sampled_from(["step", "linear"]),
).map(lambda x: TokenCurve([(3.0 * i + 1, y) for i, y in enumerate(x[0])], x[1]))
FAMILIES: dict[str, st.SearchStrategy[LatencyModel]] = {
    "roofline": ROOFLINE,
    "tile_active": TILES,
    "token_curve": CURVE,
    "regimes": st.tuples(ROOFLINE | TILES, ROOFLINE | CURVE).map(
        lambda x: Regimes([(20, x[0]), (90, x[1])])
    ),
}


@st.composite
def wild(draw: st.DrawFn, family: str) -> Instance:
    """Few experts, GPUs without slots, one to four unlike models."""
    experts, gpus = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    counts = draw(
        st.lists(
            st.lists(st.integers(0, 300), min_size=experts, max_size=experts),
            min_size=2,
            max_size=2,
        )
    )
    models = [draw(FAMILIES[family]) for _ in range(draw(st.integers(1, gpus)))]
    return Instance.from_arrays(
        np.array(counts)[:, None],
        [models[g % len(models)] for g in range(gpus)],
        slots=draw(slot_counts(experts, gpus, 2)),
        weights=draw(st.sampled_from([None, [1e-9, 1e9], [1.0, 0.0]])),
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_no_bound_exceeds_the_optimum(family: str, data: st.DataObject) -> None:
    """At every effort, and a run with the bound ends without an exception."""
    instance = data.draw(wild(family))
    best, optimum = best_placement(instance)
    for effort in ("none", "quick", 0.02):
        bound = lower_bound(instance, effort, placement=best).value
        assert math.isfinite(bound)
        assert bound <= optimum * (1 + 1e-9)
    result = gemopt.solve(instance, "lpt", bound_effort="quick", start=best)
    assert result.lower_bound <= result.objective


@pytest.mark.parametrize("power", [1 + 1e-15, 1.0001, 1.002])
def test_a_power_near_one_keeps_solvers_running(power: float) -> None:
    """Norms of huge powers once underflowed to an infinite bound."""
    roof = Roofline(Line(10, 2, 0.5, 0.01), Line(5, 0.1, 1, 0.05), 64, power)
    counts = np.random.default_rng(0).integers(0, 300, (4, 1, 8))
    instance = Instance.from_arrays(counts, [roof] * 4)
    for solver in ("lpt", "exact"):
        result = gemopt.solve(instance, solver, bound_effort="quick")
        assert 0 < result.lower_bound <= result.objective


def test_a_bound_above_a_known_cost_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next best one that can be trusted stands in for it."""
    instance = Instance.from_arrays([[[3, 4]]], [TileActive(1, 1, 1, 1)] * 2)
    best = Placement(np.array([[0, 1]]), instance.slots)
    none = lower_bound(instance, "none")
    for wrong in (math.inf, math.nan, 1e9):
        monkeypatch.setattr(
            sys.modules["gemopt.bounds.lower_bound"],
            "raised_steps",
            lambda *_, **__: (np.array([wrong]), "counting"),  # noqa: B023
        )
        found = lower_bound(instance, "quick", placement=best)
        assert (found.value, found.kind) == (none.value, none.kind)
