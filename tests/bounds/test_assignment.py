"""The assignment bound and common costs against brute force and linear programs."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gemopt import Instance, Placement, evaluate
from gemopt.bounds.lower_bound import lower_bound
from gemopt.bounds.steps.assignment import _costs, _value, assignment, work
from gemopt.bounds.steps.minorant import minorant
from gemopt.latency import Line, Regimes, Roofline, TileActive
from gemopt.latency.base import CURVE
from gemopt.latency.tables import rows_of_steps
from tests.brute_force import best_placement
from tests.strategies import FAMILIES, instances, random_placement

LINED = ("tile_active", "roofline", "regimes")
ROUNDING = 1 + 1e-9


def small(*families: str) -> st.SearchStrategy[Instance]:
    """One layer of at most 4 experts, 3 GPUs and 3 steps."""
    return instances(families, max_experts=4, max_gpus=3, max_steps=3, max_layers=1)


SEEDS = st.integers(0, 2**32 - 1)


def equalised(instance: Instance) -> Instance:
    """The instance with every GPU like the first."""
    return Instance.from_arrays(
        instance.counts,
        [instance.latency[0]] * instance.num_gpus,
        slots=instance.slots,
        weights=instance.weights,
    )


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "mixed"])
def test_never_above_the_best_of_each_step(family: str, equal: bool) -> None:
    """Step by step it stays below what brute force finds, with and without replicas."""

    @settings(max_examples=25)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        families = LINED if family == "mixed" else (family,)
        instance = data.draw(small(*families))
        instance = equalised(instance) if equal else instance
        bound = assignment(instance, 0, np.zeros(instance.num_steps))
        for t in range(instance.num_steps):
            placement, _ = best_placement(instance.steps(t, t + 1))
            best = evaluate(instance, placement).per_step[t, 0]
            assert bound[t] <= best * ROUNDING + 1e-9

    check()


@settings(max_examples=60)
@given(instance=small(*LINED), seed=SEEDS)
def test_any_weights_and_prices_are_valid(instance: Instance, seed: int) -> None:
    """Whatever the optimiser finds, no placement is cheaper than what it proves."""
    rng = np.random.default_rng(seed)
    kinds = instance.classes
    tables = kinds.tables
    rows = rows_of_steps(tables, instance.step_tokens[0])
    lined = (tables.kind[rows] != CURVE).all(axis=0)
    spare = instance.num_slots - instance.num_experts
    copies = np.arange(1, min(instance.num_gpus, spare + 1) + 1)
    costs = _costs(kinds, tables, rows[:, lined], instance.loads[0][:, lined], copies)
    x = rng.exponential(size=costs.fixed.shape)
    x[:, :, 2] = 10 ** rng.uniform(-2, 2) * rng.normal(size=x.shape[:2])
    for _ in range(5):
        placement = random_placement(rng, instance)
        steps = evaluate(instance, placement).per_step[lined, 0]
        assert (_value(costs, x) <= steps * ROUNDING + 1e-9).all()


@settings(max_examples=100)
@given(instance=small(), seed=SEEDS)
def test_lines_lie_below_every_latency(instance: Instance, seed: int) -> None:
    """Base and common costs of a GPU's shares never exceed its latency."""
    placement = random_placement(np.random.default_rng(seed), instance)
    least = minorant(instance, 0)
    latency = evaluate(instance, placement).per_gpu[:, 0]
    copies = placement.replicas(instance.num_experts)[0]
    for g, held in enumerate(placement.gpu2experts(0)):
        k = least.kinds.of_gpu[g]
        shares = (least.cost[:, held] / copies[held]).sum(axis=1)
        line = least.base[k] + least.per_cost[k] * (shares - least.lost)
        below = line <= latency[:, g] * ROUNDING + 1e-9
        assert below[least.line].all()


def _profiled(steps: int, spare: int, seed: int) -> Instance:
    """GPUs bound by memory, tiles or tokens, and smoothly between them."""
    rng = np.random.default_rng(seed)
    models = []
    for g in range(4):
        compute = Line(3.0, 0.0, 2.0 * (g % 2), 0.3 * (1 - g % 2) + 0.05)
        power = 2.0 if g > 1 else None
        models.append(
            Regimes([(1e9, Roofline(Line(5, 9 - g), compute, 8 << g % 3, power))])
        )
    counts = rng.poisson(rng.lognormal(3, 0.7, 16), (steps, 1, 16))
    slots = np.full(4, (16 + spare) // 4)
    return Instance.from_arrays(counts, models, slots=slots)


def _linear_program(instance: Instance) -> np.ndarray:
    """The assignment in fractions, smooth maxima met by tangents, us ``[steps]``."""
    spare = instance.num_slots - instance.num_experts
    experts, gpus = instance.num_experts, instance.num_gpus
    kinds = range(gpus)
    columns = [
        (e, r, g)
        for e in range(experts)
        for r in range(1, min(gpus, spare + 1) + 1)
        for g in kinds
    ]
    e, r, g = np.array(columns).T
    left = np.zeros((experts + gpus, len(columns) + 1))
    left[e, np.arange(len(e))] = 1 / r
    left[experts + g, np.arange(len(g))] = 1
    right = np.concatenate([np.ones(experts), instance.slots])
    out = []
    for t in range(instance.num_steps):
        share = instance.loads[0, e, t] / r
        above, limit = [], []
        for k, model in enumerate(instance.latency):
            (row,) = model.rows()
            tiles = np.ceil(share / row.tile)
            lines = [line.coefficients() for line in row.lines]
            for angle in np.linspace(0, 1, 60):
                if row.power:
                    dual = row.power / (row.power - 1)
                    mix = np.array([angle, (1 - angle**dual) ** (1 / dual)])
                else:
                    mix = np.array([angle, 1 - angle])
                a, b, c, d = mix @ np.array(lines)
                cost = (b * (share > 0) + c * tiles + d * share) * (g == k)
                above.append([*cost, -1.0])
                limit.append(-a)
        goal = np.eye(1, len(columns) + 1, len(columns))[0]
        out.append(linprog(goal, above, limit, left, right, method="highs").fun)
    return np.array(out)


@pytest.mark.parametrize("spare", [0, 4])
def test_weights_are_nearly_the_best(spare: int) -> None:
    """The Newton steps come within 0.3 % of the linear program's optimum."""
    instance = _profiled(4, spare, 7)
    program = _linear_program(instance)
    bound = assignment(instance, 0, np.zeros(4))
    assert (bound >= 0.997 * program).all()
    assert (bound <= program * (1 + 2e-3)).all()  # its tangents are finitely many


def test_gpus_of_different_nature_are_told_apart() -> None:
    """Costs per expert here and per token there: feature by feature neither counts."""
    models = [TileActive(0, 64.0), TileActive(0, 0, 0, 1.0)]
    instance = Instance.from_arrays(np.full((1, 1, 4), 64), models)
    assert lower_bound(instance, "none").value < 100
    quick = lower_bound(instance, "quick")
    assert quick.value == pytest.approx(128, rel=1e-3)
    assert quick.value <= 128


def test_every_copy_of_an_expert_is_active() -> None:
    """Two experts on all four GPUs are eight reads of weights, not two."""
    instance = Instance.from_arrays(
        np.full((1, 1, 2), 10), [TileActive(0, 5.0, 0, 0.1)] * 4, slots=[2] * 4
    )
    bound = lower_bound(instance, "quick")
    assert bound.kind == ("assignment",)
    assert bound.value == pytest.approx(2 * 5 + 2 * 0.1 * 10 / 4, rel=1e-5)


def test_steps_without_tokens_cost_the_base() -> None:
    """A step in which nothing is routed is bounded by the largest base."""
    models = [TileActive(3.0, 1, 1, 1), TileActive(7.0, 1, 1, 1)]
    instance = Instance.from_arrays(np.zeros((2, 1, 4), dtype=np.int64), models)
    assert assignment(instance, 0, np.zeros(2)) == pytest.approx([7, 7], rel=1e-2)


def test_a_placement_of_one_gpu_is_met() -> None:
    """With one GPU the bound is its latency."""
    model = Roofline(Line(5, 2), Line(1, 0, 3, 0.2), 16, 3.0)
    instance = Instance.from_arrays([[[20, 40, 0]]], [model])
    placement = Placement(np.arange(3)[None], instance.slots)
    cost = evaluate(instance, placement).objective
    assert assignment(instance, 0, np.zeros(1)) == pytest.approx([cost], rel=1e-3)


def test_what_would_take_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit of work steps keep their bound; below it they are raised."""
    counts = np.random.default_rng(3).poisson(3.0, (4, 2, 12))
    models = [TileActive(10.0 / s, 5.0 / s, 4.0 / s) for s in (1.0, 0.9, 0.8)]
    instance = Instance.from_arrays(counts, models, slots=[5, 5, 5])
    assert work(instance) == 4 * 12 * 3 * 3
    bound = np.ones(4)
    assert (assignment(instance, 0, bound) > bound).all()
    both = lower_bound(instance, "quick")
    module = sys.modules[lower_bound.__module__]
    monkeypatch.setattr(module, "MOST_ASSIGNED", work(instance))
    flow = lower_bound(instance, "quick")  # two layers are too many
    assert set(both.kind) == {"assignment"} and set(flow.kind) == {"water filling"}
    monkeypatch.setattr("gemopt.bounds.steps.assignment.MOST_WORK", work(instance) - 1)
    assert (assignment(instance, 0, bound) == bound).all()
