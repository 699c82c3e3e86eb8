"""The exact solver cpsat against brute force, and its limits."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance, Placement
from gemopt.latency import TileActive, TokenCurve
from tests.solvers import exact_cases as cases
from tests.strategies import FAMILIES

NAME = "cpsat"


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("family", [*FAMILIES, "mixed"])
def test_equals_brute_force(family: str, equal: bool) -> None:
    """Every family, with and without replicas, equal and unequal GPUs and slots."""
    cases.equals_brute_force(NAME, family, equal)


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


def test_large_coefficients_keep_the_optimum() -> None:
    """A case that symmetry detection on large coefficients solved to 30, not 16."""
    model = TileActive(0.0, 14.0, 0.0, 1.0, tile=1)
    counts = np.array([[[2, 1, 0]]])
    instance = Instance.from_arrays(counts, [model] * 2, slots=[2, 2])
    start = Placement(np.array([[2, 1, 1, 0]]), instance.slots)
    result = gemopt.solve(instance, NAME, start=start)
    assert result.objective == pytest.approx(16.0)


def test_a_terrible_start_does_no_harm() -> None:
    """Units are chosen anew once a far better placement is known."""
    cases.starts_from_anywhere(NAME)


def test_pieces_above_the_known_cost_stay_out_of_reach() -> None:
    """A piece of a curve whose base alone costs too much lends no time to its loads."""
    points = ((32.0, 43.0), (64.0, 63.0), (96.0, 67.0))
    model = TokenCurve(points, interpolation="linear")
    instance = Instance.from_arrays([[[8, 68]]], [model] * 2, slots=[1, 2])
    result = gemopt.solve(instance, NAME)
    assert result.status == "optimal"
    assert result.objective == pytest.approx(43.0 + 10 / 32 * 20)
