"""The solver of the bound over sets of experts."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gemopt import Instance
from gemopt.bounds.colocation.first_order import solve
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.sets.bound import certified_sets, set_program
from gemopt.bounds.sets.solver import from_co_location, solve_sets
from gemopt.bounds.steps.minorant import minorant
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import affine


def _threads() -> list[int]:
    """How many each BLAS that is loaded may use."""
    return [
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    ]


@pytest.mark.parametrize("unequal", [False, True])
def test_one_thread_of_blas_while_sets_are_searched(unequal: bool) -> None:
    """Sums keep their order for any limit before, which is back in place afterwards."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.lognormal(2, 1, (24, 12)))[:, None]
    models = [affine(60, 0.1 + 0.03 * unequal * (g % 2)) for g in range(4)]
    instance = Instance.from_arrays(counts, models)
    bound = water_filling(instance)[0]
    working = 1.1 * bound
    c = layer_program(instance, 0, bound, working)
    first = solve(c, c.matrix(np.full((12, 4), 0.25)), seconds=60.0, iterations=100)
    assert first.certificate is not None
    p = set_program(minorant(instance, 0), bound, working, instance.weights)
    found, seen = [], []
    for limit in (1, 2):
        with threadpool_limits(limit, user_api="blas"):
            before = _threads()

            def look() -> bool:
                seen.append(_threads())
                return False

            start = from_co_location(p, c, first.certificate)
            value, dual = solve_sets(p, start, None, seconds=60.0, rounds=4, stop=look)
            assert _threads() == before
        assert value == certified_sets(p, dual) >= first.value * (1 - 1e-9)
        found.append((value, dual.rows.tobytes(), dual.prices.tobytes()))
    assert found[0] == found[1]
    assert len(seen) > 2
    assert {threads for row in seen for threads in row} == {1}
