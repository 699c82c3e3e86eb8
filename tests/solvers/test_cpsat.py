"""The exact solver cpsat against brute force, and its limits."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance, Placement
from gemopt.latency import TileActive, TokenCurve

NAME = "cpsat"


def test_large_coefficients_keep_the_optimum() -> None:
    """A case that symmetry detection on large coefficients solved to 30, not 16."""
    model = TileActive(0.0, 14.0, 0.0, 1.0, tile=1)
    counts = np.array([[[2, 1, 0]]])
    instance = Instance.from_arrays(counts, [model] * 2, slots=[2, 2])
    start = Placement(np.array([[2, 1, 1, 0]]), instance.slots)
    result = gemopt.solve(instance, NAME, start=start)
    assert result.objective == pytest.approx(16.0)


def test_pieces_above_the_known_cost_stay_out_of_reach() -> None:
    """A piece of a curve whose base alone costs too much lends no time to its loads."""
    points = ((32.0, 43.0), (64.0, 63.0), (96.0, 67.0))
    model = TokenCurve(points, interpolation="linear")
    instance = Instance.from_arrays([[[8, 68]]], [model] * 2, slots=[1, 2])
    result = gemopt.solve(instance, NAME)
    assert result.status == "optimal"
    assert result.objective == pytest.approx(43.0 + 10 / 32 * 20)
