"""Plain-numpy twins of the kernels: slow, obvious, independent of them."""

import numpy as np

from gemopt.model.instance import Instance
from gemopt.model.placement import SHARE_UNIT, Placement


def share(loads: np.ndarray, replicas: np.ndarray) -> np.ndarray:
    """Tokens of one copy: load / replicas, rounded down to 1 / SHARE_UNIT token."""
    return np.floor_divide(loads * SHARE_UNIT, replicas) / SHARE_UNIT


def per_gpu(instance: Instance, placement: Placement) -> np.ndarray:
    """Latency of every GPU in us, ``[steps, layers, gpus]``, from `LatencyModel.us`."""
    replicas = placement.replicas(instance.num_experts)
    shares = share(instance.counts, np.maximum(replicas, 1)[None])
    latency = np.zeros((instance.num_steps, instance.num_layers, instance.num_gpus))
    for layer in range(instance.num_layers):
        for g, experts in enumerate(placement.gpu2experts(layer)):
            latency[:, layer, g] = instance.latency[g].us(
                shares[:, layer, experts], instance.step_tokens[layer]
            )
    return latency


def objective(instance: Instance, placement: Placement) -> float:
    """``sum_t w_t sum_l max_g latency`` in us."""
    slowest = per_gpu(instance, placement).max(axis=2)
    return float((slowest.sum(axis=1) * instance.weights).sum())
