"""The default solver: feasible, exact in its bookkeeping, limited where asked."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gemopt
from gemopt import Instance, Placement
from gemopt.latency import affine
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search import place_counts
from gemopt_solvers.search.layer import LayerSearch
from gemopt_solvers.search.presets import PRESETS
from gemopt_solvers.search.stages import Anneal, Restart, Turn
from gemopt_solvers.search.state.additive_terms import (
    additive_terms,
    expert_terms_into,
)
from tests.brute_force import best_placement
from tests.strategies import instances, random_placement

RELAXED = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@given(instances(), st.integers(0, 2**32 - 1))
@RELAXED
def test_state_agrees_with_evaluate(instance: Instance, seed: int) -> None:
    """The float32 objective of a state equals `gemopt.evaluate` for every family."""
    placement = random_placement(np.random.default_rng(seed), instance)
    exact = gemopt.evaluate(instance, placement).per_layer
    for layer in range(instance.num_layers):
        search = LayerSearch(instance, layer)
        search.take(placement.phy2log[layer])
        assert search.now == pytest.approx(exact[layer], rel=1e-5, abs=1e-4)


@given(instances(), st.integers(0, 2**32 - 1))
@RELAXED
def test_annealing_keeps_its_books(instance: Instance, seed: int) -> None:
    """After annealing and descent the claimed cost is that of the claimed row."""
    search, rng = LayerSearch(instance, 0), np.random.default_rng(seed)
    start = random_placement(np.random.default_rng(seed), instance)
    search.fill_statistics()
    search.take(start.phy2log[0])
    first = search.cost
    Anneal().cool(search, rng, 200, 0.05, 0.001)
    for stage in (Restart(), PRESETS["default"].first[-1]):
        for _ in stage.run(search, Turn(1, rng, instance.num_steps)):
            pass
    placement = Placement(search.best[None], instance.slots)
    exact = gemopt.evaluate(instance.layer(0), placement).objective
    assert search.cost == pytest.approx(exact, rel=1e-5, abs=1e-4)
    assert search.cost <= first * (1 + 1e-6)


def test_additive_terms_equal_the_formula() -> None:
    """A terms line is its coefficients times active, tiles and share."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 200, (3, 50))
    tokens.setflags(write=False)
    coef = np.array([[2.0, 3.0, 0.5, 64.0], [1.0, 0.0, 0.25, 1.0]])
    rows = rng.integers(0, 2, 50)
    out = np.empty(50)
    for copies in (1, 2, 3):
        expert_terms_into(tokens, 1, copies, coef, rows, out)
        share, c = tokens[1] / copies, coef[rows].T
        wanted = c[0] * (share > 0) + c[1] * np.ceil(share / c[3]) + c[2] * share
        np.testing.assert_allclose(out, wanted, rtol=1e-12)


def test_gpus_that_differ_by_speed_share_a_stream() -> None:
    """One stream serves all GPUs of one shape, whatever their speeds."""
    instance = synthetic_instance(16, 8, steps=8, speeds="unequal")
    terms = additive_terms(instance, 0)
    assert len(terms.stream_row) == 1
    assert len(np.unique(terms.scale)) > 1


@pytest.mark.parametrize("slots", [[2, 2], [3, 2], [3, 3], [2, 2, 1]])
def test_best_finds_optimum_of_tiny_instances(slots: list[int]) -> None:
    """Preset best equals brute force on tiny instances with and without copies."""
    rng = np.random.default_rng(sum(slots))
    for _ in range(3):
        counts = rng.poisson(rng.gamma(1.0, 40.0, 4), (6, 1, 4))
        models = [affine(20.0 / s, 0.3 / s) for s in rng.uniform(0.8, 1.1, len(slots))]
        instance = Instance.from_arrays(counts, models, slots=slots)
        found = gemopt.solve(instance, "search", params={"preset": "best"}).objective
        assert found == pytest.approx(best_placement(instance)[1], rel=1e-6)


def test_long_costs_less_than_best_on_the_given_steps() -> None:
    """A hundred times the annealing finds a placement that costs these steps less."""
    instance = synthetic_instance(64, 8, 64, steps=24)
    best, long = (
        gemopt.solve(instance, "search", params={"preset": name, "resample": False})
        for name in ("best", "long")
    )
    assert long.objective < best.objective


def test_jobs_do_not_change_the_answer() -> None:
    """One thread and three give the same bytes."""
    instance = synthetic_instance(16, 4, 20, steps=32, layers=5)
    answers = [gemopt.solve(instance, "search", jobs=n).placement for n in (1, 3)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("limit", [0, 2, 5])
def test_max_moves_is_kept(limit: int) -> None:
    """No layer changes more slots than allowed, and none gets worse."""
    instance = synthetic_instance(24, 4, 28, steps=32, layers=2, speeds="unequal")
    start = gemopt.solve(instance, "linear").placement
    assert start is not None
    result = gemopt.solve(instance, "search", start=start, params={"max_moves": limit})
    assert result.placement is not None
    changed = (result.placement.phy2log != start.phy2log).sum(axis=1)
    assert changed.max() <= limit
    if limit >= 2:
        assert result.objective < gemopt.evaluate(instance, start).objective


def test_price_and_least_gain_hold_the_start() -> None:
    """A high price, or a gain that cannot be had, keeps the start as it is."""
    instance = synthetic_instance(16, 4, 20, steps=32)
    start = gemopt.solve(instance, "linear").placement
    for params in ({"move_us": 1e9}, {"min_gain": 0.9}):
        result = gemopt.solve(instance, "search", start=start, params=params)
        assert result.placement == start


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.uint16])
def test_place_counts_takes_what_engines_record(dtype: type) -> None:
    """Rows are feasible for every type of counts, with time axis and without."""
    instance = synthetic_instance(16, 4, 20, steps=96, layers=3)
    counts = np.asarray(instance.counts, dtype=dtype)
    for array in (counts, counts.sum(axis=0)):
        rows = place_counts(array, instance.slots, base_us=60.0, us_per_token=0.11)
        assert gemopt.violations(instance, Placement(rows, instance.slots)) == []


def test_place_counts_equals_preset_fast() -> None:
    """The engine's entry gives what `gemopt.solve` gives."""
    instance = synthetic_instance(32, 8, 40, steps=128, layers=2, speeds="unequal")
    solved = gemopt.solve(instance, "search", params={"preset": "fast"}).placement
    lines = [model.rows()[0] for model in instance.latency]
    rows = place_counts(
        instance.counts,
        instance.slots,
        base_us=[line.intercept[0] for line in lines],
        us_per_token=[line.slope[0] for line in lines],
    )
    assert solved is not None
    np.testing.assert_array_equal(rows, solved.phy2log)


@pytest.mark.parametrize(
    ("slots", "model"), [([1] * 8, affine(5.0, 1.0)), ([2] * 4, affine(5.0, 0.0))]
)
def test_nothing_to_gain_stops_at_once(slots: list[int], model: object) -> None:
    """One expert on each equal GPU, or flat latency: proven, and it says why."""
    counts = np.random.default_rng(0).poisson(9.0, (20, 2, 8))
    instance = Instance.from_arrays(counts, [model] * len(slots), slots=slots)  # type: ignore[list-item]
    result = gemopt.solve(instance, "search")
    assert result.stop_reason is gemopt.StopReason.PROVEN
    assert result.status is gemopt.Status.OPTIMAL
    assert "nothing_to_gain" in result.stats


def test_flashlb_toy() -> None:
    """Loads 600..10 on 8 GPUs with 2 slots: at most 196.67, where FlashLB has 205."""
    counts = np.array([[[600, 560, 120, 120, 20, 10, 10, 10]]])
    instance = Instance.from_arrays(counts, [affine(0.0, 1.0)] * 8, slots=[2] * 8)
    result = gemopt.solve(instance, "search", params={"preset": "best"})
    assert result.objective <= 196.67


@pytest.mark.parametrize(
    "params",
    [{"preset": "slow"}, {"max_moves": -1}, {"move_us": -1.0}, {"min_gain": 1.0}],
)
def test_bad_parameters_are_named(params: dict[str, object]) -> None:
    """A bad option raises ValueError that names it."""
    instance = synthetic_instance(8, 4, steps=4)
    with pytest.raises(ValueError, match=next(iter(params))):
        gemopt.solve(instance, "search", params=params)
