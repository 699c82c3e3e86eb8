"""Small instances for exact solving, each with another feature of the model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from gemopt.latency import (
    LatencyModel,
    Line,
    Regimes,
    Roofline,
    TileActive,
    TokenCurve,
    affine,
)
from gemopt.model.instance import Instance
from gemopt.traffic import generate

SPEEDS = (1.0, 0.85, 1.05, 0.95)
TOKENS = 96


def recipes() -> dict[str, Callable[[], Instance]]:
    """All instances of the family by name."""
    table: dict[str, dict[str, Any]] = {
        "affine-e4-g2": {"experts": 4, "models": _lines(2, equal=True)},
        "affine-e6-g2-unequal": {"experts": 6, "models": _lines(2)},
        "affine-e6-g2-s8": {"experts": 6, "models": _lines(2), "slots": (4, 4)},
        "step-e8-g2": {"experts": 8, "models": _steps(2)},
        "dips-e8-g4": {"experts": 8, "models": _dips(4)},
        "tiles-e8-g4": {"experts": 8, "models": _tiles(4)},
        "tiles-e8-g4-s12": {"experts": 8, "models": _tiles(4), "slots": (3,) * 4},
        "roofline-e9-g3": {"experts": 9, "models": _roofs(3, None)},
        "smooth-e9-g3": {"experts": 9, "models": _roofs(3, 4.0)},
        "regimes-e12-g4": {"experts": 12, "models": _regimes(4), "ramp": True},
        "slots-e10-g4-unequal": {
            "experts": 10,
            "models": _lines(4),
            "slots": (1, 2, 3, 4),
        },
        "slots-e12-g3-s14-weights": {
            "experts": 12,
            "models": _tiles(3),
            "slots": (6, 3, 5),
            "weights": (1.0, 3.0, 0.5, 2.0),
        },
        "nodes-e8-g4-s10": {
            "experts": 8,
            "models": _lines(4),
            "slots": (3, 2, 3, 2),
            "node": (0, 0, 1, 1),
        },
    }
    found: dict[str, Callable[[], Instance]] = {
        f"tiny-{name}": partial(_instance, f"tiny-{name}", seed, **options)
        for seed, (name, options) in enumerate(table.items())
    }
    found["tiny-flashlb-toy"] = _flashlb_toy
    return found


def _instance(
    name: str,
    seed: int,
    *,
    experts: int,
    models: Sequence[LatencyModel],
    slots: Sequence[int] | None = None,
    node: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    ramp: bool = False,
) -> Instance:
    """Two layers of 8 steps; with `ramp` the steps grow from small to large ones."""
    top_k = 1 if experts < 8 else 2
    steps = 4 if weights else 8
    sizes = {"layers": 2, "experts": experts, "top_k": top_k, "seed": seed}
    counts = generate(steps, tokens=TOKENS, **sizes)
    if ramp:
        parts = [
            generate(steps, tokens=TOKENS * (t + 1) // 4, **sizes)[t]
            for t in range(steps)
        ]
        counts = np.array(parts)
    return Instance.from_arrays(
        counts,
        models,
        slots=slots,
        node=node,
        weights=weights,
        name=name,
        provenance={
            "summary": f"small: {', '.join(_features(models, slots, weights, node))}",
            "routing": f"gemopt.traffic.generate, family bursts, seed {seed}",
            "source": "synthetic",
            "license": "Apache-2.0",
        },
    )


def _features(
    models: Sequence[LatencyModel],
    slots: Sequence[int] | None,
    weights: Sequence[float] | None,
    node: Sequence[int] | None,
) -> list[str]:
    features = [type(models[0]).__name__]
    features += [] if slots is None else [f"slots {'+'.join(map(str, slots))}"]
    features += [] if weights is None else ["step weights"]
    return features + ([] if node is None else ["two nodes"])


def _lines(gpus: int, equal: bool = False) -> list[LatencyModel]:
    return [
        affine(20 / (1 if equal else s), 0.5 / (1 if equal else s)) for s in SPEEDS
    ][:gpus]


def _steps(gpus: int) -> list[LatencyModel]:
    corners = range(0, 193, 16)
    return [
        TokenCurve([(float(x), round((30 + x) / s, 3)) for x in corners])
        for s in SPEEDS[:gpus]
    ]


def _dips(gpus: int) -> list[LatencyModel]:
    """Curves that fall where the kernel's configuration changes."""
    points = ((1, 40), (24, 55), (32, 48), (64, 60), (96, 84), (112, 76), (192, 130))
    return [
        TokenCurve([(x, round(y / s, 3)) for x, y in points], interpolation="linear")
        for s in SPEEDS[:gpus]
    ]


def _tiles(gpus: int) -> list[LatencyModel]:
    return [
        TileActive(
            base_us=12.0,
            per_active_us=round(2.5 / s, 4),
            per_tile_us=round(1.2 / s, 4),
            per_token_us=round(0.05 / s, 4),
            tile=16,
        )
        for s in SPEEDS[:gpus]
    ]


def _roofs(gpus: int, power: float | None) -> list[LatencyModel]:
    return [
        Roofline(
            memory=Line(base_us=10.0, per_active_us=9.0),
            compute=Line(base_us=5.0, per_tile_us=round(3.0 / s, 4)),
            tile=8,
            power=power,
        )
        for s in SPEEDS[:gpus]
    ]


def _regimes(gpus: int) -> list[LatencyModel]:
    """A kernel for steps up to 160 assignments, and one for larger steps."""
    large = _lines(gpus)
    return [
        Regimes([(160, small), (np.inf, large[g])])
        for g, small in enumerate(_tiles(gpus))
    ]


def _flashlb_toy() -> Instance:
    """The toy case that FlashLB's authors publish: 205 by theirs, 232 by DeepSeek's."""
    loads = [600, 560, 120, 120, 20, 10, 10, 10]
    return Instance.from_arrays(
        [[loads]],
        [affine(0.0, 1.0)] * 8,
        slots=[2] * 8,
        name="tiny-flashlb-toy",
        provenance={
            "summary": "FlashLB's published toy case; 1 us a token",
            "source": "vllm-ascend, FlashLB policy",
            "license": "Apache-2.0",
        },
    )
