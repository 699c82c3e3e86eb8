"""Measured routing on whole measured profiles: one H100 cut into four unequal GPUs."""

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from gemopt.files.profile_set import load_profiles
from gemopt.model.instance import Instance
from gemopt.traffic import sum_windows
from gemopt.traffic.synthetic import even_slots
from instances.recipes.measured import routing

FOLDER = Path(__file__).parents[1] / "profiles"
EXPERTS, TOP_K, STREAMS, GPUS = 64, 8, 64, 4
WINDOWS = {512: 8, 1984: 31}  # tokens of a step -> recorded steps that make it
#: Shapes that have 16 experts on a GPU, as the 64 of the routing need.
SHAPES = ("deepseek-v3", "hunyuan-a13b", "qwen3-30b-a3b")


def recipes() -> dict[str, Callable[[], Instance]]:
    """All instances of the family by name."""
    axes = product(SHAPES, WINDOWS, (EXPERTS, EXPERTS + GPUS))
    return {
        f"profiled-{shape}-b{batch}-s{slots}": partial(_instance, shape, batch, slots)
        for shape, batch, slots in axes
    }


def _instance(shape: str, batch: int, slots: int) -> Instance:
    source = f"h100-{shape}-e16-sm132_120_104_88.profile.json"
    profiles = load_profiles(FOLDER / source)
    return Instance.from_arrays(
        sum_windows(routing(), WINDOWS[batch]),
        [profile.latency for profile in profiles],
        slots=even_slots(slots, GPUS),
        name=f"profiled-{shape}-b{batch}-s{slots}",
        gpu_names=[profile.name for profile in profiles],
        provenance={
            "summary": f"measured routing and profiles of {shape} on an H100 cut into "
            f"GPUs of 132, 120, 104 and 88 SMs, {batch} tokens a step",
            "routing": f"language model of 54.8 M parameters, top-{TOP_K} of {EXPERTS} "
            f"experts; positions 16..511 of {STREAMS} validation texts, "
            f"{WINDOWS[batch]} summed to a step",
            "hardware": f"one NVIDIA H100 80GB HBM3, instances/profiles/{source}",
            "source": "own measurements, instances/measured and instances/profiles",
            "license": "Apache-2.0",
        },
    )
