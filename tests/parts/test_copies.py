"""Copies of experts: never more than GPUs can hold, and as EPLB deals them."""

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.parts.copies import replica_counts


def _fits(copies: tuple[int, ...], slots: tuple[int, ...]) -> bool:
    """Tell by trying whether copies fit on distinct GPUs: most copies first."""
    free = sorted(slots, reverse=True)
    for count in sorted(copies, reverse=True):
        if count > sum(room > 0 for room in free):
            return False
        free = sorted([room - (i < count) for i, room in enumerate(free)], reverse=True)
    return True


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[float], list[int]]:
    """Loads of experts, and slots that hold each expert at least once."""
    experts = draw(st.integers(1, 5))
    slots = draw(st.lists(st.integers(0, experts), min_size=1, max_size=4))
    while sum(slots) < experts:
        slots.append(experts)
    load = st.integers(0, 9).map(float)
    return draw(st.lists(load, min_size=experts, max_size=experts)), slots


@given(shapes())
def test_every_slot_is_given_and_copies_fit(shape: tuple[list[float], list[int]]):
    """Copies sum to the slots, each expert has one, and distinct GPUs can hold them."""
    load, slots = shape
    copies = replica_counts(np.array([load]), np.array(slots))[0]
    assert copies.sum() == sum(slots) and copies.min() >= 1
    assert _fits(tuple(copies.tolist()), tuple(slots))


@given(shapes())
def test_largest_share_is_least_among_all_that_fit(
    shape: tuple[list[float], list[int]],
):
    """No other way to deal the slots that fits has a smaller largest share."""
    load, slots = shape
    copies = replica_counts(np.array([load]), np.array(slots))[0]
    experts, total = len(load), sum(slots)
    best = min(
        max(x / c for x, c in zip(load, counts, strict=True))
        for counts in product(range(1, len(slots) + 1), repeat=experts)
        if sum(counts) == total and _fits(counts, tuple(slots))
    )
    assert (np.array(load) / copies).max() == pytest.approx(best)


def test_ties_go_to_the_lower_expert():
    """Equal loads: the extra slots go to experts 0 and 1."""
    copies = replica_counts(np.ones((1, 4)), np.array([3, 3]))
    assert copies.tolist() == [[2, 2, 1, 1]]


def test_layers_are_counted_apart():
    """Each layer gets what it would get alone."""
    slots = np.array([3, 3, 2])
    loads = np.array(list(combinations_with_replacement([1.0, 4.0, 9.0], 4)))
    together = replica_counts(loads, slots)
    for load, row in zip(loads, together, strict=True):
        assert replica_counts(load[None], slots)[0].tolist() == row.tolist()
