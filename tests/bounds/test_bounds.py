"""Bounds B and C against brute force, and the certificate against nonsense."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gemopt import Instance, Placement, evaluate
from gemopt import solve as solved
from gemopt.bounds import lower_bound
from gemopt.bounds.colocation.certificate import Certificate, certified
from gemopt.bounds.colocation.first_order import solve
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.sets.bound import (
    SetCertificate,
    certified_sets,
    cheapest,
    feasible_rows,
    set_program,
)
from gemopt.bounds.steps.counting import count_heavy
from gemopt.bounds.steps.minorant import minorant
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import TokenCurve, affine
from tests.brute_force import best_placement
from tests.strategies import FAMILIES, instances

SMALL = {"max_experts": 5, "max_gpus": 3, "max_steps": 4, "max_layers": 1}
ROUNDING = 1 + 1e-9


def same_gpus(instance: Instance) -> Instance:
    """The instance with every GPU like the first, and equal slots if they divide."""
    gpus = instance.num_gpus
    slots = instance.slots
    if instance.num_slots % gpus == 0:
        slots = np.full(gpus, instance.num_slots // gpus)
    model = instance.latency[0]
    return Instance.from_arrays(
        instance.counts, [model] * gpus, slots=slots, weights=instance.weights
    )


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "mixed"])
def test_never_above_the_optimum(family: str, equal: bool) -> None:
    """B and C stay below the optimum with and without replicas, for any slots."""

    @settings(max_examples=25)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        families = () if family == "mixed" else (family,)
        instance = data.draw(instances(families, **SMALL))
        instance = same_gpus(instance) if equal else instance
        placement, optimum = best_placement(instance)
        bound = lower_bound(instance, math.inf, placement=placement, iterations=60)
        assert bound.value <= optimum * ROUNDING + 1e-9

    check()


@settings(max_examples=60)
@given(instance=instances(**SMALL), seed=st.integers(0, 2**32 - 1))
def test_any_dual_point_is_a_valid_bound(instance: Instance, seed: int) -> None:
    """The certificate holds for multipliers drawn at random."""
    rng = np.random.default_rng(seed)
    _, optimum = best_placement(instance)
    one_step = water_filling(instance)[0]
    p = layer_program(instance, 0, one_step, one_step * 1.1)
    n, scale = p.size, 10 ** rng.uniform(-3, 1)
    root = rng.normal(size=(n, n))
    dual = Certificate(
        weights=rng.exponential(size=p.rows.shape) * rng.integers(0, 2, p.rows.shape),
        equal=scale * rng.normal(size=p.equal_left.shape),
        box=scale * rng.normal(size=n) * (p.box != 0),
        psd=scale * (root @ root.T - rng.exponential() * np.eye(n)),
    )
    assert certified(p, dual) <= optimum * ROUNDING + 1e-9


@settings(max_examples=60)
@given(instance=instances(**SMALL), seed=st.integers(0, 2**32 - 1))
def test_any_prices_of_sets_are_a_valid_bound(instance: Instance, seed: int) -> None:
    """So does that of bound D, where no expert has replicas."""
    assume(instance.num_slots == instance.num_experts)
    rng = np.random.default_rng(seed)
    _, optimum = best_placement(instance)
    one_step = water_filling(instance)[0]
    p = set_program(minorant(instance, 0), one_step, one_step * 1.1, instance.weights)
    rows = (instance.num_experts + len(p.members), p.weights.size)
    dual = SetCertificate(
        rows=rng.exponential(size=rows) * rng.integers(0, 2, rows),
        prices=10 ** rng.uniform(-3, 2) * rng.normal(size=instance.num_experts),
    )
    assert certified_sets(p, dual) <= optimum * ROUNDING + 1e-9


@settings(max_examples=60)
@given(instance=instances(**SMALL), seed=st.integers(0, 2**32 - 1))
def test_cheapest_sets_are_all_found(instance: Instance, seed: int) -> None:
    """The least value and the sets below a limit are those of plain enumeration."""
    assume(instance.num_slots == instance.num_experts)
    rng = np.random.default_rng(seed)
    one_step = water_filling(instance)[0]
    p = set_program(minorant(instance, 0), one_step, one_step * 1.1, instance.weights)
    n = instance.num_experts
    rows = rng.exponential(size=(n + len(p.members), p.weights.size))
    dual = SetCertificate(rows, rng.normal(size=n) * rng.exponential() * p.constant)
    w = feasible_rows(p, rows)
    for k, (least, sets, values) in enumerate(cheapest(p, dual, np.inf)):
        if p.slots[k] == 0:
            continue
        expected = {}
        for held in combinations(range(n), int(p.slots[k])):
            on = list(held)
            excess = np.maximum(p.cost[k, on].sum(axis=0) - p.room[k], 0)
            weight = w[on].sum(axis=0) + w[n + k] / p.members[k]
            expected[held] = excess @ weight - dual.prices[on].sum()
        found = {tuple(one): v for one, v in zip(sets.tolist(), values, strict=True)}
        assert found == pytest.approx(expected)
        assert least == pytest.approx(min(expected.values()))


@settings(max_examples=60)
@given(instance=instances(**SMALL), seed=st.integers(0, 2**32 - 1))
def test_every_placement_satisfies_the_program(instance: Instance, seed: int) -> None:
    """The relaxed objective at a placement is at most its true cost."""
    from tests.strategies import random_placement

    placement = random_placement(np.random.default_rng(seed), instance)
    cost = evaluate(instance, placement)
    one_step = water_filling(instance)[0]
    p = layer_program(instance, 0, one_step, cost.per_step[:, 0])
    row = placement.phy2log[0]
    shares = np.zeros((instance.num_experts, instance.num_gpus))
    copies = np.bincount(row, minlength=instance.num_experts)
    np.add.at(shares, (row, instance.slot2gpu), 1 / copies[row])
    m = p.matrix(shares)
    excess = (p.rows @ m / p.unit).max(axis=1) - p.kappa
    relaxed = p.constant + p.weights @ np.maximum(excess, 0)
    assert relaxed <= cost.objective * ROUNDING + 1e-6
    assert np.allclose(m @ p.equal_left, p.equal_right)
    assert np.linalg.eigvalsh(m - p.shift).min() > -1e-9
    if p.replicas:
        sums = m @ p.box / p.unit
        assert (sums <= p.high + 1e-9).all() and (sums >= p.low - 1e-9).all()


def _two_heavy() -> Instance:
    counts = np.array([[[8, 8, 8, 0, 0, 0]]])
    return Instance.from_arrays(counts, [affine(0, 1)] * 2)


def test_counting_sees_two_heavy_experts_meet() -> None:
    """Three experts of 8 on two GPUs: two must meet."""
    instance = _two_heavy()
    flow = water_filling(instance)[0]
    assert flow == pytest.approx([12.0])
    assert count_heavy(minorant(instance, 0), flow) == pytest.approx([16.0])


def test_co_location_couples_steps() -> None:
    """Pairs that burst at different steps cannot all be apart: only C sees it."""
    pairs = [(0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2)]
    counts = np.zeros((6, 1, 4), dtype=np.int64)
    for t, pair in enumerate(pairs):
        counts[t, 0, list(pair)] = 30
    instance = Instance.from_arrays(counts, [affine(1, 1)] * 2)
    _, optimum = best_placement(instance)
    assert optimum == pytest.approx(6 * 31 + 2 * 30)
    assert lower_bound(instance, "quick").value == pytest.approx(6 * 31)
    strong = lower_bound(instance, 5.0)
    assert strong.kind[0] in ("co-location", "sets")
    assert strong.value == pytest.approx(optimum, rel=1e-4)


def test_sets_pay_for_their_own_excess() -> None:
    """With few experts a GPU, sets of experts prove more than co-location alone."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.lognormal(2.5, 0.8, 12), (32, 1, 12))
    instance = Instance.from_arrays(counts, [affine(9, 1 + 0.1 * g) for g in range(4)])
    start = Placement(np.arange(12)[None], instance.slots)
    bound = lower_bound(instance, math.inf, placement=start, iterations=200)
    assert bound.kind == ("sets",)
    one_step = count_heavy(minorant(instance, 0), water_filling(instance)[0])
    p = layer_program(instance, 0, one_step, bound.working[0])
    alone = solve(p, p.matrix(np.full((12, 4), 0.25)), seconds=9.0, iterations=2000)
    assert alone.value * 1.002 < bound.value
    best = solved(instance, "search", seed=0, bound_effort="none").objective
    assert bound.value <= best


def test_a_staircase_starts_at_its_next_stair() -> None:
    """Five of eight tokens in tiles of 4 cost a second tile: the bound is a stair."""
    curve = TokenCurve([(4 * i, 10.0 * i) for i in range(1, 9)])
    counts = np.array([[[3, 3, 2, 2]]])
    instance = Instance.from_arrays(counts, [curve] * 2)
    assert lower_bound(instance).value == pytest.approx(20.0)


def test_iterations_make_the_bound_repeatable() -> None:
    """The same iterations give the same bytes."""
    rng = np.random.default_rng(3)
    instance = Instance.from_arrays(rng.poisson(9, (6, 2, 8)), [affine(5, 1)] * 4)
    start = Placement(np.tile(np.arange(8), (2, 1)), instance.slots)
    a, b = (
        lower_bound(instance, math.inf, placement=start, iterations=40) for _ in "ab"
    )
    assert a.value == b.value
    assert a.value > lower_bound(instance, "none").value


@pytest.mark.parametrize("effort", ["much", -1.0, float("nan")])
def test_bad_effort_is_refused(effort: str | float) -> None:
    """The message names the effort."""
    with pytest.raises(ValueError, match=str(effort)):
        lower_bound(_two_heavy(), effort)
