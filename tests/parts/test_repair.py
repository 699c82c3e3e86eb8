"""Rows that break a rule become feasible; rows that keep them stay as they are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemopt.model.placement import slot_owner
from gemopt.parts.repair import EMPTY, repaired


@st.composite
def broken_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of any experts and gaps, slots that can hold them, and loads."""
    experts = draw(st.integers(1, 6))
    slots = draw(st.lists(st.integers(0, experts), min_size=1, max_size=4))
    while sum(slots) < experts:
        slots.append(experts)
    total = sum(slots)
    expert = st.integers(EMPTY, experts - 1)
    row = draw(st.lists(expert, min_size=total, max_size=total))
    load = draw(st.lists(st.integers(0, 9), min_size=experts, max_size=experts))
    return np.array([row]), np.array(slots), np.array([load], dtype=float)


def _feasible(row: np.ndarray, owner: np.ndarray, experts: int) -> bool:
    every = set(row.tolist()) == set(range(experts))
    pairs = list(zip(owner.tolist(), row.tolist(), strict=True))
    return every and len(set(pairs)) == len(pairs)


@given(broken_rows())
def test_every_row_becomes_feasible_and_stays_so(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
):
    """Every expert has a slot, no GPU holds one twice, and repair changes no more."""
    rows, slots, load = case
    before = rows.copy()
    row = repaired(rows, slots, load)
    assert _feasible(row[0], slot_owner(slots), load.shape[1])
    assert (rows == before).all()
    assert (repaired(row, slots, load) == row).all()


def test_a_second_copy_changes_places_with_the_nearest_load():
    """Expert 0 lies twice on GPU 0: it swaps with 2, whose load per copy is nearest."""
    rows, load = np.array([[0, 0, 1, 2]]), np.array([[8.0, 1.0, 4.0]])
    fixed = repaired(rows, np.array([2, 2]), load)
    assert fixed.tolist() == [[0, 2, 1, 0]]


def test_a_gap_goes_to_the_expert_that_is_missing():
    """An empty slot takes the expert without any, not the hottest one."""
    rows, load = np.array([[0, EMPTY, 1, 0]]), np.array([[9.0, 1.0, 1.0]])
    assert repaired(rows, np.array([2, 2]), load).tolist() == [[0, 2, 1, 0]]
