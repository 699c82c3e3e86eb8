"""Replica counts and repair of rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.copies import replica_counts
from gemopt.parts.repair import EMPTY, repaired
from gemopt_solvers.random import random_row
from tests.brute_force import feasible_rows
from tests.strategies import slot_counts


@st.composite
def cases(draw, layers=3):
    """(weight [layers, experts], slots [gpus]) with ties, zeros and unequal slots."""
    experts, gpus = draw(st.integers(1, 7)), draw(st.integers(1, 4))
    slots = np.array(draw(slot_counts(experts, gpus, 8)))
    seed = draw(st.integers(0, 2**32 - 1))
    weight = np.random.default_rng(seed).integers(0, 6, (layers, experts)) ** 2
    return weight.astype(float), slots


def feasible(rows, slots, experts):
    """Tell whether rows break no rule."""
    counts = np.ones((1, len(rows), experts), int)
    instance = Instance.from_arrays(counts, [affine(1, 1)] * len(slots), slots=slots)
    return gemopt.violations(instance, Placement(rows, slots)) == []


@given(cases())
def test_counts_can_be_placed(case):
    """Every slot is used and some feasible row has exactly these copies."""
    weight, slots = case
    experts = weight.shape[1]
    counts = replica_counts(weight[:1], slots)[0]
    assert counts.sum() == slots.sum()
    possible = {
        tuple(np.bincount([e for held in row for e in held], minlength=experts))
        for row in feasible_rows(experts, slots)
    }
    assert tuple(counts) in possible


def test_counts_equal_eplb_where_no_cap_binds():
    """With room on other GPUs the next copy goes to the largest load per copy."""
    counts = replica_counts(np.array([[9.0, 4.0, 1.0, 1.0]]), np.array([2, 2, 2, 2]))
    assert counts.tolist() == [[4, 2, 1, 1]]  # 9, 4.5, 4 (tie-free), 3


def test_counts_stop_at_one_copy_per_gpu():
    """An expert never has more copies than GPUs, however hot."""
    counts = replica_counts(np.array([[1e9, 2.0, 1.0, 1.0]]), np.array([3, 3]))
    assert counts.tolist() == [[2, 2, 1, 1]]


@given(cases(), st.integers(0, 2**32 - 1))
def test_repair_makes_any_row_feasible(case, seed):
    """Random rows with holes and second copies become feasible; feasible ones stay."""
    weight, slots = case
    experts = weight.shape[1]
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, experts, (len(weight), int(slots.sum())))
    fixed = repaired(rows, slots, weight)
    assert feasible(fixed, slots, experts)
    np.testing.assert_array_equal(repaired(fixed, slots, weight), fixed)


def test_repair_exchanges_the_nearest_share():
    """A second copy changes places with the allowed slot of most similar load."""
    row = np.array([[0, 0, 1, 2, 3, 4]])
    weight = np.array([[10.0, 9.0, 4.9, 2.0, 1.0]])  # share of expert 0 is 5
    fixed = repaired(row, np.array([2, 2, 2]), weight)
    assert fixed.tolist() == [[0, 2, 1, 0, 3, 4]]


def test_repair_fills_holes_with_missing_experts_first():
    """Holes take experts without a slot, then the largest load per copy."""
    row = np.array([[0, EMPTY, EMPTY, 1]])
    fixed = repaired(row, np.array([2, 2]), np.array([[5.0, 9.0, 1.0]]))
    assert fixed.tolist() == [[0, 2, 0, 1]]


def test_random_rows_reach_every_placement():
    """Every feasible placement of a small shape is drawn sooner or later."""
    slots = np.array([2, 1, 2])
    owner = np.repeat(np.arange(3), slots)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(2000):
        row = random_row(rng, 4, owner)
        seen.add(tuple(tuple(sorted(row[owner == g].tolist())) for g in range(3)))
    assert seen == set(feasible_rows(4, slots))
