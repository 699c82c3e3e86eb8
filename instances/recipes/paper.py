"""The five models of the GEM paper on 4 emulated GPUs of rising variability."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gemopt.model.instance import Instance
from gemopt.traffic import emulated_instance, shape

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
    instance = emulated_instance(
        shape(model),
        GPUS,
        variability=level,
        steps=STEPS,
        tokens=TOKENS,
        seed=SEED,
        name=f"paper-{model.lower()}-{level}",
    )
    provenance = {**instance.provenance, "license": "Apache-2.0"}
    return replace(instance, provenance=provenance)
