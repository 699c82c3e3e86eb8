"""The five models of the GEM paper on 4 emulated GPUs of rising variability."""

from collections.abc import Callable
from functools import partial

from gemopt.latency.variability import SPREAD, emulated_curve, emulated_speeds
from gemopt.model import Instance
from gemopt.traffic import generate, shape

MODELS = (
    "Mixtral-8x7B",
    "Mixtral-8x22B",
    "Llama-4-Scout",
    "Hunyuan-A13B",
    "Qwen3-30B-A3B",
)
GPUS, STEPS, TOKENS, SEED = 4, 128, 1024, 2026


def recipes() -> dict[str, Callable[[], Instance]]:
    """All instances of the family by name."""
    return {
        f"paper-{model.lower()}-{level}": partial(_instance, model, level)
        for model in MODELS
        for level in ("low", "medium", "high")
    }


def _instance(model: str, level: str) -> Instance:
    sizes = shape(model)
    counts = generate(
        STEPS,
        sizes.layers,
        sizes.experts,
        tokens=TOKENS,
        top_k=sizes.top_k,
        seed=SEED,
    )
    speeds = emulated_speeds(GPUS, level, seed=SEED)
    models = [
        emulated_curve(
            float(speed),
            experts=sizes.experts // GPUS,
            hidden=sizes.hidden,
            intermediate=sizes.intermediate,
            max_tokens=int(counts.sum(axis=2).max()),
        )
        for speed in speeds
    ]
    return Instance.from_arrays(
        counts,
        models,
        layer_ids=list(sizes.layer_ids),
        name=f"paper-{model.lower()}-{level}",
        provenance={
            "summary": f"shape of {model}, synthetic bursts, {level} variability",
            "routing": "gemopt.traffic.generate, family bursts, "
            f"{TOKENS} tokens a step, seed {SEED}",
            "hardware": f"emulated L40S-class GPUs, fastest / slowest = "
            f"{1 + SPREAD[level]:.3f}, seed {SEED}",
            "source": "synthetic, after the statistics of GEM (arXiv 2605.19945)",
            "license": "Apache-2.0",
        },
    )
