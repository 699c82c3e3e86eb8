"""The exact solver milp against brute force, and its limits."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.latency import TokenCurve
from tests.solvers import exact_cases as cases
from tests.strategies import FAMILIES

NAME = "milp"


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"token_curve"}))
def test_equals_brute_force(family: str, equal: bool) -> None:
    """Every family of lines, equal and unequal GPUs and slots."""
    cases.equals_brute_force(NAME, family, equal, max_extra=0)


def test_survives_a_time_limit() -> None:
    """Status, bound and placement are kept."""
    cases.survives_a_limit(NAME)


def test_obeys_a_move_limit() -> None:
    """Only as many slots change as allowed."""
    cases.obeys_moves(NAME)


def test_refuses_what_does_not_fit() -> None:
    """A model too large is refused with its size."""
    cases.refuses_giants(NAME)


def test_an_interrupt_keeps_the_incumbent() -> None:
    """Nothing found so far is lost."""
    cases.keeps_the_incumbent_when_interrupted(NAME)


def test_a_terrible_start_does_no_harm() -> None:
    """Units are chosen anew once a far better placement is known."""
    cases.starts_from_anywhere(NAME)


@pytest.mark.parametrize(("points", "spare"), [(1, 1), (2, 0)])
def test_refuses_where_highs_loses_optima(points: int, spare: int) -> None:
    """Replicas and curves of several pieces are for cpsat."""
    curve = TokenCurve([(8.0 * i, 9.0 * i) for i in range(1, points + 1)])
    counts = np.ones((2, 1, 3), dtype=int)
    instance = Instance.from_arrays(counts, [curve] * 2, slots=[2, 1 + spare])
    with pytest.raises(ValueError, match="HiGHS loses optima; use cpsat"):
        gemopt.solve(instance, NAME)
