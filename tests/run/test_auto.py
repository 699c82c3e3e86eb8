"""Which solver `auto` takes."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance, Status
from gemopt.latency import TokenCurve, affine
from gemopt.run.auto import choose


def _instance(experts: int, gpus: int, spare: int = 0, layers: int = 1) -> Instance:
    counts = np.random.default_rng(0).poisson(9, (16, layers, experts))
    models = [TokenCurve([(8, 9.0 + g), (99, 30.0)]) for g in range(gpus)]
    return Instance.from_arrays(
        counts, models, slots=np.full(gpus, (experts + spare) // gpus)
    )


@pytest.mark.parametrize(
    ("instance", "solver"),
    [
        (_instance(16, 4), "exact"),
        (_instance(16, 8, layers=3), "exact"),
        (_instance(8, 4, spare=4), "exact"),
        (_instance(12, 4, spare=12), "search"),  # too many choices of replicas
        (_instance(24, 4), "search"),
        (_instance(64, 8), "search"),
    ],
)
def test_a_proof_within_the_limit_is_for_exact(instance: Instance, solver: str) -> None:
    """Small layers are proven, large ones searched."""
    assert choose(instance, 10.0) == solver


@pytest.mark.parametrize("limit", [None, 1.0])
def test_without_time_only_what_is_proven_at_once_is_for_exact(
    limit: float | None,
) -> None:
    """Without a clock the answer must be the same everywhere, and come soon."""
    assert choose(_instance(8, 4), limit) == "exact"
    assert choose(_instance(16, 4), limit) == "search"


def test_auto_proves() -> None:
    """What `auto` calls optimal is what the exact solvers find."""
    counts = np.random.default_rng(3).poisson(9, (4, 1, 6))
    instance = Instance.from_arrays(counts, [affine(5, 1), affine(5, 1.2)])
    gemopt.solve(instance, "exact")  # compile before the clock runs
    result = gemopt.solve(instance, "auto", time_limit=10.0)
    assert result.solver == "exact" and result.status == Status.OPTIMAL
    other = gemopt.solve(instance, "cpsat")
    assert result.objective == pytest.approx(other.objective, rel=1e-9)
