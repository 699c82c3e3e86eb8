"""Latency of each rank as a line about its mean load: what the fast search reads."""

from __future__ import annotations

from math import fsum

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.latency import LatencyModel

Floats = NDArray[np.float64]

#: Multiples of the mean load of a rank that are fitted; beyond them ranks rarely go.
_FACTORS = np.linspace(0.5, 1.5, 21)


def lines_for(
    models: tuple[LatencyModel, ...], counts: Ints, slots: int
) -> tuple[Floats, Floats]:
    """Fit a line in tokens to every rank's latency.

    The fit looks at a rank that holds a fair sample of all loads, between half and one
    and a half times its mean load. Steps of tiles and of curves are smoothed, as they
    are on the average of many steps anyway.

    Parameters
    ----------
    models
        Latency model of each rank.
    counts
        Tokens of each expert, int64 ``[rows, layers, experts]``.
    slots
        Slots of one rank.

    Returns
    -------
    tuple
        Base in us and us per token, float64 ``[ranks]``. All bases are shifted by the
        same constant, which changes no choice; equal ranks stay equal.
    """
    sample, step = _typical_rank(counts, slots, len(models))
    fitted = {model: _fit(model, sample, step) for model in set(models)}
    base = np.array([fitted[model][0] for model in models])
    return base - base.min() + 1.0, np.array([fitted[model][1] for model in models])


def _typical_rank(counts: Ints, slots: int, ranks: int) -> tuple[Floats, float]:
    """Loads of the slots of a rank with the mean load, and the tokens of a step."""
    loads = np.sort((counts.sum(axis=0) / len(counts)).ravel())
    at = ((np.arange(slots) + 0.5) / slots * len(loads)).astype(np.int64)
    sample = np.maximum(loads[at], 1e-9)
    step = fsum(loads) / counts.shape[1]
    scale = max(step, 1e-9) / ranks / fsum(sample)
    return sample * scale, step


def _fit(model: LatencyModel, sample: Floats, step: float) -> tuple[float, float]:
    """Least-squares base in us and us per token, exact sums, never falling."""
    us = model.us(_FACTORS[:, None] * sample, np.full(len(_FACTORS), step))
    tokens = (_FACTORS * fsum(sample)).tolist()
    middle, level = fsum(tokens) / len(tokens), fsum(us.tolist()) / len(us)
    part = fsum((x - middle) * (y - level) for x, y in zip(tokens, us, strict=True))
    rise = max(part / fsum((x - middle) ** 2 for x in tokens), 0.0)
    # Twelve digits: the last bits of sums may depend on the processor.
    rise = float(f"{rise:.12g}")
    return float(f"{level - rise * middle:.12g}"), rise
