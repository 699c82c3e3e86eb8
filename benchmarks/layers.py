"""One-layer instances that the benchmarks of proofs and of bounds share.

Real routing is read from ``shared/traces`` beside the checkout (``GEMOPT_TRACES``
overrides); without it the real shapes are left out.
"""

import os
from pathlib import Path

import numpy as np

from gemopt import Instance
from gemopt.latency import affine

STEPS = 256


def bursts(experts: int, seed: int) -> np.ndarray:
    """Lognormal popularity, bursting groups of experts, drift; ``[256, experts]``."""
    rng = np.random.default_rng(seed)
    heat = rng.lognormal(0, 0.7, experts)
    heat[rng.permutation(experts)[: max(1, experts // 32)]] *= 3
    group = rng.integers(0, max(2, experts // 8), experts)
    on, drift, steps = np.zeros(group.max() + 1, bool), np.zeros(experts), []
    for _ in range(STEPS):
        drift = 0.95 * drift + rng.normal(0, 0.1, experts)
        on = np.where(rng.random(len(on)) < 0.1, rng.random(len(on)) < 0.3, on)
        share = heat * np.exp(drift) * np.where(on[group], 4, 1)
        steps.append(rng.multinomial(32 * experts, share / share.sum()))
    return np.array(steps)


def decoding(layer: int, seed: int) -> np.ndarray | None:
    """gpt-oss-20b on MMLU, 64 requests, one token each a step; ``[256, 32]``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "traces"
    folder = Path(os.environ.get("GEMOPT_TRACES", beside))
    path = folder / "gpt-oss-20b-expertfingerprinting" / "mmlu_test.npz"
    if not path.exists():
        return None
    data = np.load(path, allow_pickle=False)
    ids, offsets = data["expert_ids"], data["request_offsets"]
    queue = list(np.random.default_rng(seed).permutation(len(offsets) - 1))
    running: list[list[int]] = []
    steps = []
    while len(steps) < 64 + STEPS:
        while len(running) < 64 and queue:
            request = queue.pop()
            running.append([offsets[request], offsets[request + 1]])
        tokens = ids[[r[0] for r in running]]
        steps.append(np.bincount(tokens[:, layer].ravel(), minlength=32))
        running = [[a + 1, b] for a, b in running if a + 1 < b]
    return np.array(steps[64:])


def speeds(gpus: int, unequal: bool, seed: int) -> np.ndarray:
    """1, or N(1, 0.05) with one GPU at 0.85."""
    if not unequal:
        return np.ones(gpus)
    speed = np.random.default_rng(seed + 77).normal(1, 0.05, gpus)
    speed[-1] = 0.85
    return speed


def shaped(
    counts: np.ndarray, gpus: int, unequal: bool, seed: int, spare: int = 0
) -> Instance:
    """One layer of synthetic traffic at (60 + 0.11 n) us; real traffic has 256
    assignments a step, and the slope makes a third of a balanced step idle time."""
    experts = counts.shape[1]
    real = counts[0].sum() == 256
    slope = 120.0 * gpus / 256 if real else 0.11
    models = [affine(60 / s, slope / s) for s in speeds(gpus, unequal, seed)]
    slots = [(experts + spare) // gpus] * gpus
    return Instance.from_arrays(counts[:, None], models, slots=slots)
