"""Random small instances, non-degenerate, for proofs and for heuristics against optima.

Seed i always gives the same instance. Loads come from `layers.bursts`; every family of
latency models takes its turn, with equal GPUs (one model for all) and unequal ones
(a model each, speeds N(1, 0.1)).
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.layers import bursts
from gemopt import Instance
from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)

FAMILIES = ("affine", "curve", "step", "tiles", "roofline", "smooth", "regimes")
FIRST_SEED = 20_000


@dataclass(frozen=True)
class Small:
    """A small instance and what it is like."""

    name: str
    family: str
    unequal: bool
    instance: Instance


def model(family: str, rng: np.random.Generator) -> LatencyModel:
    """A random latency model of one family; about 1 us a token."""
    s = float(rng.normal(1, 0.1))
    if family == "affine":
        return affine(60 * s, 0.4 * s)
    if family in ("curve", "step"):
        rise = s * rng.uniform(4, 20, 40).cumsum()
        points = [(32.0 * (i + 1), 30 * s + float(y)) for i, y in enumerate(rise)]
        return TokenCurve(points, "linear" if family == "curve" else "step")
    if family == "tiles":
        return TileActive(20 * s, 3 * s, 4 * s, 0.05 * s, 16)
    if family in ("roofline", "smooth"):
        memory, compute = Line(30 * s, 6 * s), Line(10 * s, 0, 0, 0.4 * s)
        return Roofline(memory, compute, 16, None if family == "roofline" else 4.0)
    return Regimes([(350, affine(50 * s, 0.5 * s)), (1e9, affine(70 * s, 0.4 * s))])


def without_replicas(index: int) -> Small:
    """E <= 16, G <= 8, T <= 64; half of them have 16 experts; any slots."""
    rng = np.random.default_rng(FIRST_SEED + index)
    experts = 16 if index % 2 == 0 else int(rng.integers(6, 16))
    gpus = int(rng.integers(2, min(8, experts // 2) + 1))
    return _small("plain", index, experts, gpus, 0, rng)


def with_replicas(index: int) -> Small:
    """E <= 12, G <= 8, one slot more on each GPU than experts need, T <= 64."""
    rng = np.random.default_rng(FIRST_SEED + 1000 + index)
    experts = 12 if index % 3 == 0 else int(rng.integers(4, 13))
    gpus = int(rng.integers(2, min(8, experts) + 1))
    return _small("spare", index, experts, gpus, 1, rng)


def _small(
    kind: str,
    index: int,
    experts: int,
    gpus: int,
    extra: int,
    rng: np.random.Generator,
) -> Small:
    steps = int(rng.choice([4, 16, 64]))
    family = FAMILIES[index % len(FAMILIES)]
    unequal = bool(index // len(FAMILIES) % 2)
    one = model(family, rng)
    models = [model(family, rng) if unequal else one for _ in range(gpus)]
    slots = np.full(gpus, experts // gpus + extra)
    slots[: experts % gpus] += 1
    counts = bursts(experts, FIRST_SEED + index)[:steps, None]
    instance = Instance.from_arrays(counts, models, slots=slots)
    return Small(f"{kind}-{index}", family, unequal, instance)
