"""What a GPU's latency looks like near its fair load: a base and a slope."""

import numpy as np
from numpy.typing import NDArray

from gemopt.model.instance import Instance

Floats = NDArray[np.float64]


def finishing_lines(instance: Instance, layer: int) -> tuple[Floats, Floats]:
    """Base us and us per token of each GPU around the load that is fair for its slots.

    Returns
    -------
    tuple of numpy.ndarray
        float64 ``[gpus]`` each; the slope is positive.
    """
    total = instance.loads[layer].sum(axis=0).mean()
    mean = instance.loads[layer].mean(axis=1)
    base, slope = np.zeros(instance.num_gpus), np.zeros(instance.num_gpus)
    for g, model in enumerate(instance.latency):
        held = max(int(instance.slots[g]), 1)
        fair = np.full(held, mean.sum() / instance.num_slots)
        low, high = (
            float(model.us(fair * scale, np.asarray(total))) for scale in (0.75, 1.25)
        )
        tokens = fair.sum()
        slope[g] = max(high - low, 0.0) / max(0.5 * tokens, 1e-12)
        base[g] = low - 0.75 * tokens * slope[g]
    # A flat latency gives no order; a tiny slope keeps loads even.
    return base, np.maximum(slope, 1e-9)


def fair_shares(instance: Instance, layer: int) -> Floats:
    """Share of a layer's tokens that lets all GPUs finish together, ``[gpus]``."""
    base, slope = finishing_lines(instance, layer)
    total = instance.loads[layer].sum(axis=0).mean()
    low, high = float(base.min()), float(base.max() + slope.max() * total)
    for _ in range(60):
        level = (low + high) / 2
        if (np.maximum(level - base, 0.0) / slope).sum() < total:
            low = level
        else:
            high = level
    share = np.maximum(high - base, 0.0) / slope
    return np.asarray(share / max(share.sum(), 1e-12))
