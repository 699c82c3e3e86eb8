"""Emulated GPUs of different speed: the set-ups of the GEM paper, as far as known."""

import numpy as np
from numpy.typing import NDArray

from gemopt.latency.token_curve import TokenCurve

#: How much faster the fastest GPU of a set-up is than the slowest one. Medium is the
#: node of 8 GPUs that the paper measured, high its spread over 128; low is our choice.
SPREAD = {"none": 0.0, "low": 0.03, "medium": 0.14, "high": 0.277}

# An L40S-class GPU in bf16. With these numbers a layer of Mixtral-8x7B takes about what
# public measurements of that GPU show: 3.9-4.4 ms flat, 8.2 ms at 1024 tokens.
_BYTES_PER_US = 0.8e6
_FLOP_PER_US = 180e6
_LAUNCH_US = 20.0  # the same on every GPU, so that the gap grows with the batch
TILE = 64  # tokens from one step of the staircase to the next


def emulated_speeds(gpus: int, variability: str, seed: int = 0) -> NDArray[np.float64]:
    """Draw relative speeds with mean 1 and an exact ratio of fastest to slowest.

    Parameters
    ----------
    gpus
        Number of GPUs.
    variability
        ``"none"``, ``"low"``, ``"medium"`` or ``"high"``, see `SPREAD`.
    seed
        Seed of the draw; the order of the GPUs is random too.

    Returns
    -------
    numpy.ndarray
        float64 ``[gpus]``.

    Raises
    ------
    ValueError
        Unknown `variability`, or `gpus` below 1.
    """
    if variability not in SPREAD:
        raise ValueError(
            f"variability = {variability!r} is unknown; known: {', '.join(SPREAD)}"
        )
    if gpus < 1:
        raise ValueError(f"gpus = {gpus} must be at least 1")
    normal = np.random.default_rng(seed).standard_normal(gpus)
    reach = np.ptp(normal)
    place = (normal - normal.min()) / reach if reach > 0 else np.zeros(gpus)
    speed = 1.0 + SPREAD[variability] * place
    return np.asarray(speed / speed.mean())


def emulated_curve(
    speed: float, *, experts: int, hidden: int, intermediate: int, max_tokens: int
) -> TokenCurve:
    """Latency of one MoE layer on an emulated GPU, a staircase of `TILE` tokens.

    Reading the weights of `experts` gated experts and multiplying the tokens both go
    with 1 / speed; launching does not.

    Parameters
    ----------
    speed
        Relative speed, > 0.
    experts
        Experts on the GPU.
    hidden, intermediate
        Width of the residual stream and of one expert.
    max_tokens
        Token-expert assignments up to which the staircase goes; a line above.

    Raises
    ------
    ValueError
        `speed` is not above 0, or a size is below 1.
    """
    sizes = {"experts": experts, "hidden": hidden, "intermediate": intermediate}
    for name, value in {**sizes, "max_tokens": max_tokens, "speed": speed}.items():
        if not value > 0 or (name != "speed" and value < 1):
            raise ValueError(f"{name} = {value} must be above 0")
    parameters = 3 * hidden * intermediate  # gate, up and down projection
    read_us = 2 * parameters * experts / _BYTES_PER_US
    tile_us = 2 * parameters * TILE / _FLOP_PER_US
    points = [(0.0, _LAUNCH_US)] + [
        (float(k * TILE), round(_LAUNCH_US + (read_us + k * tile_us) / speed, 3))
        for k in range(1, max(2, -(-max_tokens // TILE)) + 1)
    ]
    return TokenCurve(points, interpolation="step")
