"""Measured routing on measured curves: nothing in this family is invented."""

from collections.abc import Callable
from functools import partial
from itertools import product

from gemopt.latency import LatencyModel
from gemopt.model.instance import Instance
from gemopt.traffic import sum_windows
from gemopt.traffic.synthetic import even_slots
from instances.recipes.measured import (
    LAYER,
    SMS,
    block_of,
    routing,
    tile_active,
    token_curve,
)

EXPERTS, TOP_K, STREAMS = 64, 8, 64
WINDOWS = {64: 1, 512: 8}  # tokens of a step -> recorded steps that make it


def recipes() -> dict[str, Callable[[], Instance]]:
    """All instances of the family by name."""
    axes = product(WINDOWS, SMS, (False, True), ("curve", "tiles"))
    return {
        f"real-b{batch}-g{gpus}-s{EXPERTS + gpus * spare}-{kind}": partial(
            _instance, batch, gpus, EXPERTS + gpus * spare, kind
        )
        for batch, gpus, spare, kind in axes
    }


def _instance(batch: int, gpus: int, slots: int, kind: str) -> Instance:
    layer, tokens = LAYER[gpus], batch * TOP_K
    block = block_of(tokens / gpus, EXPERTS // gpus)
    models: list[LatencyModel] = []
    errors = []
    for sms in SMS[gpus]:
        if kind == "curve":
            models.append(token_curve(layer, sms))
        else:
            model, error = tile_active(layer, sms, block)
            models.append(model)
            errors.append(round(error, 4))
    provenance = {
        "summary": f"measured routing and H100 curves, {batch} tokens a step, {kind}",
        "routing": "language model of 54.8 M parameters, top-8 of 64 experts; "
        f"positions 16..511 of {STREAMS} validation texts, "
        f"{WINDOWS[batch]} summed to a step",
        "hardware": f"one NVIDIA H100 80GB HBM3, {layer}/tri_auto, at "
        f"{', '.join(map(str, SMS[gpus]))} of 132 SMs",
        "source": "own measurements, instances/measured",
        "license": "Apache-2.0",
    }
    if errors:
        provenance |= {"block_m": block, "mean_relative_error_of_fit": errors}
    return Instance.from_arrays(
        sum_windows(routing(), WINDOWS[batch]),
        models,
        slots=even_slots(slots, gpus),
        name=f"real-b{batch}-g{gpus}-s{slots}-{kind}",
        gpu_names=[f"h100-{sms}sm" for sms in SMS[gpus]],
        provenance=provenance,
    )
