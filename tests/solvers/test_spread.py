"""Dealing clusters over GPUs, and groups of a router over nodes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemopt_solvers.cluster.spread import deal


@given(st.integers(0, 10_000))
def test_slots_are_filled_and_every_copy_is_dealt(seed: int):
    """GPUs are filled to capacity with as many copies of each expert as asked."""
    rng = np.random.default_rng(seed)
    copies = rng.integers(1, 3, 6)
    capacity = rng.multinomial(copies.sum(), np.ones(4) / 4)
    labels = np.unique(rng.integers(0, 3, 6), return_inverse=True)[1]
    held = deal(labels, copies, rng.random(6), capacity, np.zeros(4), np.ones(4))
    assert [len(each) for each in held] == capacity.tolist()
    dealt = np.bincount([e for each in held for e in each], minlength=6)
    assert dealt.tolist() == copies.tolist()


@given(st.integers(0, 10_000))
def test_members_of_a_cluster_sit_apart(seed: int):
    """With as many members a cluster as GPUs, every GPU holds one of each cluster."""
    rng = np.random.default_rng(seed)
    labels, ones = np.repeat([0, 1, 2], 4), np.ones(12, dtype=np.int64)
    capacity = np.full(4, 3)
    held = deal(labels, ones, rng.random(12), capacity, np.zeros(4), np.ones(4))
    assert all(sorted(labels[each].tolist()) == [0, 1, 2] for each in held)


def test_the_largest_member_goes_to_the_gpu_that_finishes_first():
    """A GPU of twice the speed takes the heaviest expert of the first cluster."""
    labels, ones = np.array([0, 0]), np.ones(2, dtype=np.int64)
    load, slope = np.array([1.0, 5.0]), np.array([2.0, 1.0])
    held = deal(labels, ones, load, np.array([1, 1]), np.zeros(2), slope)
    assert held == [[0], [1]]
