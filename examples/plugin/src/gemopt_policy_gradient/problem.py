"""What the policy sees of an instance: loads per copy, copies in order, GPU lines."""

from dataclasses import dataclass

import numpy as np

import gemopt
from gemopt.arrays import Floats, Ints
from gemopt.parts.copies import replica_counts

#: Steps that features look at; longer traces are averaged in groups of steps.
FEATURE_STEPS = 64


@dataclass(frozen=True)
class Problem:
    """Arrays that stay the same over a run.

    Attributes
    ----------
    items
        Expert of each item in the order of placing, int64 ``[layers, slots]``: by
        falling load per copy, the copies of one expert one after the other.
    shares
        Tokens of one copy of each expert, float64 ``[layers, experts, steps]``.
    weights
        Weight of each (group of) step, float64 ``[steps]``, summing to 1.
    base, slope
        Line for each GPU's latency, us and us per token, float64 ``[gpus]``.
    slots
        Slots of each GPU, int64 ``[gpus]``.
    """

    items: Ints
    shares: Floats
    weights: Floats
    base: Floats
    slope: Floats
    slots: Ints

    @classmethod
    def of(cls, instance: gemopt.Instance) -> "Problem":
        """Prepare `instance`."""
        load = instance.loads @ instance.weights
        copies = replica_counts(load, instance.slots)
        per_copy = load / copies
        items = np.stack(
            [
                np.repeat(order, copies[layer][order])
                for layer, order in enumerate(np.argsort(-per_copy, 1, kind="stable"))
            ]
        )
        base, slope = _lines(instance)
        starts = np.unique(
            np.linspace(0, instance.num_steps, FEATURE_STEPS + 1, dtype=int)[:-1]
        )
        total = np.add.reduceat(instance.weights, starts)
        summed = np.add.reduceat(instance.loads * instance.weights, starts, axis=2)
        mean = summed / np.where(total > 0, total, 1.0)
        weights = total / total.sum() if total.sum() > 0 else total
        return cls(
            items, mean / copies[:, :, None], weights, base, slope, instance.slots
        )


def _lines(instance: gemopt.Instance) -> tuple[Floats, Floats]:
    """Fit latency = base + slope * tokens to every GPU, whatever its family.

    The points come from evaluating rotated placements, so that nothing is assumed of
    the latency model but that `gemopt.evaluate` can price it.
    """
    row = np.arange(instance.num_slots) % instance.num_experts
    tokens, latency = [], []
    for turn in range(min(instance.num_experts, 8)):
        turned = np.tile((row + turn) % instance.num_experts, (instance.num_layers, 1))
        seen = gemopt.evaluate(instance, gemopt.Placement(turned, instance.slots))
        tokens.append(seen.tokens.reshape(-1, instance.num_gpus))
        latency.append(seen.per_gpu.reshape(-1, instance.num_gpus))
    x, y = np.concatenate(tokens), np.concatenate(latency)
    spread = x - x.mean(axis=0)
    variance = (spread**2).sum(axis=0)
    slope = (spread * y).sum(axis=0) / np.where(variance > 0, variance, 1.0)
    slope = np.maximum(slope, 1e-6 * max(float(y.max()), 1e-9))
    return np.maximum(y.mean(axis=0) - slope * x.mean(axis=0), 0.0), slope
