"""``gemopt export``: a placement -> an engine's expert map."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, print_json, require_writable
from gemopt.cli.import_ import parse_layers

EngineArg = Annotated[str, typer.Argument(help="sglang, trtllm, vllm or vllm-ascend.")]
PlacementArg = Annotated[Path, typer.Argument(help="Placement file.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="File to write.")]
HiddenOption = Annotated[
    int | None,
    typer.Option(
        help="Layers of the model, dense ones too; for sglang "
        "[default: up to the last placed one]."
    ),
]
ExtraOption = Annotated[
    str | None, typer.Option(help="Layers to add, such as 61 for MTP; for trtllm.")
]


def command(
    engine: EngineArg,
    placement: PlacementArg,
    output: OutputOption,
    hidden_layers: HiddenOption = None,
    extra_layers: ExtraOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write a placement as the file that a serving engine starts from."""
    require_writable(output, "--output")
    from gemopt.engines import export_map
    from gemopt.files.placement_file import read_placement

    saved = read_placement(placement)
    more = (
        None if extra_layers is None else parse_layers("--extra-layers", extra_layers)
    )
    export_map(
        engine,
        saved.placement,
        output,
        layer_ids=saved.layer_ids,
        hidden_layers=hidden_layers,
        extra_layers=more,
    )
    facts = {
        "output": str(output),
        "engine": engine,
        "layers": saved.placement.num_layers,
        "slots": saved.placement.num_slots,
        "gpus": saved.placement.num_gpus,
    }
    if as_json:
        print_json(facts)
    else:
        print(
            f"{output}: {facts['layers']} layers, {facts['slots']} slots on "
            f"{facts['gpus']} GPUs, for {engine}"
        )
    return 0
