"""The best split of a step: valid, priced right, and as good as it is said to be."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import gemopt
from gemopt import Instance, Placement
from gemopt.dispatch import split_layer
from tests.strategies import latency_models, random_row, traffic

SHARE = 2.0**-20


def placed(rng: np.random.Generator, experts: int, gpus: int, slots: int) -> Placement:
    """A feasible placement at random."""
    row = random_row(rng, experts, np.full(gpus, slots))
    return Placement(row[None], np.full(gpus, slots))


@st.composite
def cases(draw: st.DrawFn, *families: str, most: int = 6) -> tuple[Instance, Placement]:
    gpus = draw(st.integers(2, 4))
    experts = draw(st.integers(2, most))
    slots = min(experts, -(-experts // gpus) + draw(st.integers(1, 2)))
    counts = draw(traffic(3, 1, experts))
    models = draw(st.lists(latency_models(*families), min_size=gpus, max_size=gpus))
    instance = Instance.from_arrays(
        counts, models, slots=[slots] * gpus, dispatch="best"
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return instance, placed(rng, experts, gpus, slots)


def priced(instance: Instance, placement: Placement, share: np.ndarray) -> np.ndarray:
    """Latency of every GPU ``[gpus, steps]`` by the models' own formula."""
    first = np.concatenate([[0], np.cumsum(placement.slots)])
    return np.array(
        [
            model.us(share[first[g] : first[g + 1]].T, instance.step_tokens[0])
            for g, model in enumerate(instance.latency)
        ]
    )


@settings(deadline=None)
@given(cases())
def test_split_is_whole_and_priced_right(case):
    """Shares add up to the loads, and the latency is that of the models' formula."""
    instance, placement = case
    split = split_layer(instance, placement, 0)
    assert (split.shares >= 0).all()
    summed = np.zeros((instance.num_experts, instance.num_steps))
    np.add.at(summed, placement.phy2log[0], split.shares)
    np.testing.assert_allclose(
        summed, instance.loads[0], rtol=0, atol=placement.num_slots * SHARE
    )
    np.testing.assert_allclose(
        split.latency, priced(instance, placement, split.shares), rtol=1e-9, atol=1e-9
    )
    assert gemopt.evaluate(instance, placement).objective == pytest.approx(
        split.latency.max(axis=0).sum()
    )


@settings(deadline=None)
@given(cases())
def test_never_slower_than_simple_splits(case):
    """No step is slower than the even split, or than leaving all replicas unused."""
    instance, placement = case
    best = split_layer(instance, placement, 0).latency.max(axis=0)
    even = gemopt.evaluate(instance.with_dispatch("even"), placement).per_step[:, 0]
    unused = np.zeros((placement.num_slots, instance.num_steps))
    row = placement.phy2log[0]
    for e in range(instance.num_experts):
        unused[np.flatnonzero(row == e)[0]] = instance.loads[0, e]
    first = priced(instance, placement, unused).max(axis=0)
    assert (best <= even * (1 + 1e-12) + 1e-12).all()
    assert (best <= first * (1 + 1e-9) + 1e-9).all()


def lp_optimum(instance: Instance, placement: Placement, step: int) -> float:
    """Smallest slowest GPU over all divisions of the tokens, for lines in tokens."""
    slots, gpus = placement.num_slots, placement.num_gpus
    owner = placement.slot2gpu
    equal = np.zeros((instance.num_experts, slots + 1))
    equal[placement.phy2log[0], np.arange(slots)] = 1.0
    above, at = np.zeros((gpus, slots + 1)), np.zeros(gpus)
    for g, model in enumerate(instance.latency):
        base, slope = model.us([0.0]), model.us([1.0]) - model.us([0.0])
        above[g, :slots] = np.where(owner == g, slope, 0.0)
        above[g, slots], at[g] = -1.0, -base
    cost = np.zeros(slots + 1)
    cost[slots] = 1.0
    solved = linprog(
        cost,
        A_ub=above,
        b_ub=at,
        A_eq=equal,
        b_eq=instance.loads[0, :, step],
        method="highs",
    )
    assert solved.status == 0
    return float(solved.fun)


@pytest.mark.parametrize(("experts", "gpus"), [(8, 4), (64, 8), (128, 16), (256, 32)])
@pytest.mark.parametrize("seed", range(3))
def test_lines_reach_the_linear_program(experts, gpus, seed):
    """On lines in tokens the split is within 0.1 % of the LP at every step."""
    rng = np.random.default_rng(seed)
    heat = rng.gamma(0.7, 1.0, experts)
    counts = rng.poisson(heat * rng.gamma(2, 30.0, (4, experts)))[:, None, :]
    models = [gemopt.latency.affine(60, 0.11 * s) for s in rng.uniform(0.8, 1.2, gpus)]
    instance = Instance.from_arrays(
        counts, models, slots=[experts // gpus + 1] * gpus, dispatch="best"
    )
    placement = placed(rng, experts, gpus, experts // gpus + 1)
    best = split_layer(instance, placement, 0).latency.max(axis=0)
    optimum = [lp_optimum(instance, placement, t) for t in range(4)]
    assert (best >= np.array(optimum) * (1 - 1e-6)).all()
    np.testing.assert_allclose(best, optimum, rtol=1e-3)


def whole_splits(instance: Instance, placement: Placement, step: int) -> float:
    """Smallest slowest GPU over all divisions into whole tokens, by enumeration."""
    row = placement.phy2log[0]
    choices = []
    for e in range(instance.num_experts):
        slots = np.flatnonzero(row == e)
        load = int(instance.loads[0, e, step])
        ways = [
            parts
            for parts in product(range(load + 1), repeat=len(slots))
            if sum(parts) == load
        ]
        choices.append([(slots, parts) for parts in ways])
    best = np.inf
    for chosen in product(*choices):
        share = np.zeros((placement.num_slots, instance.num_steps))
        for slots, parts in chosen:
            share[slots, step] = parts
        best = min(best, priced(instance, placement, share)[:, step].max())
    return best


@pytest.mark.parametrize("family", ["tiles", "active", "roofline"])
def test_tiny_steps_reach_brute_force(family):
    """On tiny steps the split is nearly always the best of whole tokens, or 2 % off."""
    rng = np.random.default_rng(5)
    model = {
        "tiles": gemopt.latency.TileActive(2.0, 0.0, 4.0, 0.1, 2),
        "active": gemopt.latency.TileActive(2.0, 3.0, 0.0, 0.5, 2),
        "roofline": gemopt.latency.Roofline(
            gemopt.latency.Line(1.0, 3.0, 0.0, 0.1),
            gemopt.latency.Line(2.0, 0.0, 2.0, 0.2),
            2,
        ),
    }[family]
    excess = []
    for _ in range(40):
        counts = rng.integers(0, 6, (1, 1, 3))
        instance = Instance.from_arrays(
            counts, [model] * 3, slots=[2] * 3, dispatch="best"
        )
        placement = placed(rng, 3, 3, 2)
        found = split_layer(instance, placement, 0).latency.max()
        excess.append(found / whole_splits(instance, placement, 0) - 1)
    assert np.mean(np.array(excess) <= 1e-4) >= 0.9
    assert max(excess) <= 0.02


def test_same_split_whatever_came_before():
    """The split of a step depends on that step alone."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(30, (6, 1, 8))
    models = [gemopt.latency.TileActive(5, 2, 3, 0.1, 16)] * 4
    instance = Instance.from_arrays(counts, models, slots=[3] * 4, dispatch="best")
    placement = placed(rng, 8, 4, 3)
    together = split_layer(instance, placement, 0).shares
    for t in range(6):
        alone = split_layer(instance.steps(t, t + 1), placement, 0).shares
        assert (alone[:, 0] == together[:, t]).all()
