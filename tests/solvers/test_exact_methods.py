"""What all exact solvers promise: optima of brute force, limits, refusals."""

import pytest

from tests.solvers import exact_cases as cases
from tests.strategies import FAMILIES

LINES = sorted({*FAMILIES} - {"token_curve"})
ROWS = ("cpsat", "milp")  #: solvers of the row model
FAMILY = [
    *[
        (name, family, 2)
        for name in ("bnb", "cpsat")
        for family in (*FAMILIES, "mixed")
    ],
    *[("milp", family, 0) for family in LINES],
]


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize(("name", "family", "spare"), FAMILY)
def test_equals_brute_force(name: str, family: str, spare: int, equal: bool) -> None:
    """Every family that a method takes, equal and unequal GPUs and slots."""
    cases.equals_brute_force(name, family, equal, max_extra=spare)


@pytest.mark.parametrize("name", [*ROWS, "exact", "lpbb"])
def test_survives_a_time_limit(name: str) -> None:
    """Status, bound and placement are kept, whichever part is at work."""
    cases.survives_a_limit(name)


@pytest.mark.parametrize("name", [*ROWS, "exact"])
def test_obeys_a_move_limit(name: str) -> None:
    """Only as many slots change as allowed."""
    cases.obeys_moves(name)


@pytest.mark.parametrize("name", [*ROWS, "exact"])
def test_refuses_what_does_not_fit(name: str) -> None:
    """A model too large is refused with its size."""
    cases.refuses_giants(name)


@pytest.mark.parametrize("name", ROWS)
def test_an_interrupt_keeps_the_incumbent(name: str) -> None:
    """Nothing found so far is lost."""
    cases.keeps_the_incumbent_when_interrupted(name)


@pytest.mark.parametrize("name", ROWS)
def test_a_terrible_start_does_no_harm(name: str) -> None:
    """Units are chosen anew once a far better placement is known."""
    cases.starts_from_anywhere(name)
