"""Balancedness of GPU token loads as four serving engines define it.

The definitions differ on the same data, so every figure carries its engine's name.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_SGLANG_EPSILON = 1e-5


def vllm(tokens: Floats) -> float:
    """Mean over steps of (sum over layers of mean) / (sum over layers of max).

    `tokens` are loads of GPUs ``[steps, layers, gpus]``; 1 is best. Steps without
    tokens are left out.
    """
    mean = tokens.mean(axis=2).sum(axis=1)
    largest = tokens.max(axis=2).sum(axis=1)
    used = largest > 0
    return float((mean[used] / largest[used]).mean()) if used.any() else 1.0


def sglang(tokens: Floats) -> float:
    """Mean over steps and layers of (mean + 1e-5) / (max + 1e-5); 1 is best."""
    mean, largest = tokens.mean(axis=2), tokens.max(axis=2)
    return float(((mean + _SGLANG_EPSILON) / (largest + _SGLANG_EPSILON)).mean())


def vllm_ascend(tokens: Floats) -> float:
    """Mean over layers of max / mean of the loads summed over steps; 1 is best."""
    total = tokens.sum(axis=0)
    mean, largest = total.mean(axis=1), total.max(axis=1)
    used = mean > 0
    return float((largest[used] / mean[used]).mean()) if used.any() else 1.0


def tensorrt_llm(tokens: Floats) -> float:
    """Mean over steps and layers of (max - mean) / mean; 0 is best."""
    mean, largest = tokens.mean(axis=2), tokens.max(axis=2)
    used = mean > 0
    if not used.any():
        return 0.0
    return float(((largest[used] - mean[used]) / mean[used]).mean())


BALANCEDNESS: dict[str, Callable[[Floats], float]] = {
    "vllm": vllm,
    "sglang": sglang,
    "vllm_ascend": vllm_ascend,
    "tensorrt_llm": tensorrt_llm,
}
