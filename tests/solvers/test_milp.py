"""The exact solver milp against brute force, and its limits."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.latency import TokenCurve

NAME = "milp"


@pytest.mark.parametrize(("points", "spare"), [(1, 1), (2, 0)])
def test_refuses_where_highs_loses_optima(points: int, spare: int) -> None:
    """Replicas and curves of several pieces are for cpsat."""
    curve = TokenCurve([(8.0 * i, 9.0 * i) for i in range(1, points + 1)])
    counts = np.ones((2, 1, 3), dtype=int)
    instance = Instance.from_arrays(counts, [curve] * 2, slots=[2, 1 + spare])
    with pytest.raises(ValueError, match="HiGHS loses optima; use cpsat"):
        gemopt.solve(instance, NAME)
