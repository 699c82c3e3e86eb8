"""The co-location bound against SCS, a solver that shares nothing with ours."""

import numpy as np
import pytest

from benchmarks.colocation_scs import solve_scs
from gemopt import Instance
from gemopt.bounds.colocation.first_order import solve
from gemopt.bounds.colocation.program import Program
from gemopt.bounds.lower_bound import layer_program
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import LatencyModel, TileActive, affine

MODELS: dict[str, LatencyModel] = {
    "tokens": affine(60, 0.4),
    "tiles": TileActive(20, 3, 4, 0.1, 16),
}


def posed(model: LatencyModel, experts: int, gpus: int, seed: int) -> Program:
    """Bursting loads on equal GPUs."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.7, 30.0, (12, experts)))[:, None]
    instance = Instance.from_arrays(counts, [model] * gpus)
    bound = water_filling(instance)[0]
    return layer_program(instance, 0, bound, 1.1 * bound)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("experts", "gpus"), [(8, 2), (12, 3), (16, 4)])
def test_both_reach_the_optimum_of_the_program(
    name: str, experts: int, gpus: int
) -> None:
    """Our ADMM converges to what SCS finds, and both duals prove it."""
    p = posed(MODELS[name], experts, gpus, experts)
    optimum, proven = solve_scs(p)
    shares = np.repeat(np.eye(gpus), experts // gpus, axis=0)
    ours = solve(p, p.matrix(shares), seconds=60.0, iterations=3000).value
    assert proven == pytest.approx(optimum, rel=1e-5)
    assert ours == pytest.approx(optimum, rel=1e-4)
    assert optimum > p.constant * (1 + 1e-4)  # the program says something
