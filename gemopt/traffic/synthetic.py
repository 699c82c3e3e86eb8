"""Whole synthetic instances: what benchmarks and tests of solvers run on."""

from typing import Literal

import numpy as np

from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.traffic.draw import Floats, Ints
from gemopt.traffic.generate import generate

BASE_US, US_PER_TOKEN = 60.0, 0.11
GPU_ASSIGNMENTS = 1024  # token-expert assignments of a GPU in a mean step
_SPEED_STREAM = 2**32  # far from any layer's stream of random numbers


def synthetic_instance(
    experts: int,
    gpus: int,
    slots: int | None = None,
    *,
    steps: int = 512,
    layers: int = 1,
    seed: int = 0,
    speeds: Literal["equal", "unequal"] = "equal",
    tokens: int | None = None,
    top_k: int | None = None,
    family: str = "bursts",
) -> Instance:
    """Build a synthetic instance; GPU g takes ``(60 + 0.11 tokens) / speed_g`` us.

    Parameters
    ----------
    experts, gpus
        Sizes.
    slots
        Physical slots of all GPUs together, dealt evenly (the first GPUs get the
        rest); None means one for each expert.
    steps, layers, seed, family
        As in `generate`.
    speeds
        ``"equal"``: 1 each. ``"unequal"``: normal with mean 1 and deviation 0.05,
        clipped to 0.9..1.1, and one GPU at 0.85.
    tokens
        Tokens of a step; None means 1024 assignments a GPU, so that about a third of
        the latency is its constant part.
    top_k
        Experts of a token; None means 8, or experts / 4 where that is less.

    Raises
    ------
    ValueError
        As `generate` and `Instance.from_arrays`; or `speeds` is unknown.
    """
    if gpus < 1:
        raise ValueError(f"gpus = {gpus} must be at least 1")
    chosen = max(1, min(8, experts // 4)) if top_k is None else top_k
    total = experts if slots is None else slots
    counts = generate(
        steps,
        layers,
        experts,
        tokens=GPU_ASSIGNMENTS * gpus // chosen if tokens is None else tokens,
        top_k=chosen,
        family=family,
        seed=seed,
    )
    speed = gpu_speeds(gpus, speeds, seed)
    return Instance.from_arrays(
        counts,
        [affine(BASE_US / s, US_PER_TOKEN / s) for s in speed],
        slots=even_slots(total, gpus),
        name=f"{family}-e{experts}-g{gpus}-s{total}-{speeds}-seed{seed}",
    )


def gpu_speeds(gpus: int, speeds: str, seed: int) -> Floats:
    """Relative speed of each GPU, float64 ``[gpus]``, as `synthetic_instance` says."""
    if speeds == "equal":
        return np.ones(gpus)
    if speeds != "unequal":
        raise ValueError(f"speeds = {speeds!r} must be 'equal' or 'unequal'")
    rng = np.random.default_rng([seed, _SPEED_STREAM])
    speed = np.clip(rng.normal(1.0, 0.05, gpus), 0.9, 1.1)
    speed[rng.integers(gpus)] = 0.85
    return speed


def even_slots(slots: int, gpus: int) -> Ints:
    """Deal `slots` to the GPUs evenly, the first ones getting the rest ``[gpus]``."""
    return np.array(
        [slots // gpus + (g < slots % gpus) for g in range(gpus)], dtype=np.int64
    )
