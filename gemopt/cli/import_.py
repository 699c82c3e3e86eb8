"""``gemopt import``: what an engine recorded -> trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, SeedOption, print_json, require_writable

EngineArg = Annotated[
    str, typer.Argument(help="sglang, tokens, trtllm, vllm or vllm-ascend.")
]
PathArg = Annotated[Path, typer.Argument(help="File or folder that it wrote.")]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Trace to write (.safetensors).")
]
MapOption = Annotated[
    Path | None, typer.Option(help="Expert map at that time; for vllm and vllm-ascend.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="Which model of an offline file; for vllm.")
]
LayersOption = Annotated[
    str | None, typer.Option(help="Layers in the model, such as 3-60; if no file says.")
]
BatchOption = Annotated[
    int | None, typer.Option(help="Requests that run at a time; for tokens.")
]
ExpertsOption = Annotated[
    int | None, typer.Option(help="Experts of a layer; for tokens.")
]
PaddingOption = Annotated[
    int | None,
    typer.Option(
        help="Id that stands for no expert, beside those below 0; for tokens."
    ),
]
SkipOption = Annotated[
    bool,
    typer.Option("--skip-damaged", help="Leave damaged files out, naming each."),
]


def command(
    engine: EngineArg,
    path: PathArg,
    output: OutputOption,
    map: MapOption = None,
    model: ModelOption = None,
    layer_ids: LayersOption = None,
    batch: BatchOption = None,
    experts: ExpertsOption = None,
    padding_id: PaddingOption = None,
    skip_damaged: SkipOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Make a trace of the files that a serving engine recorded."""
    require_writable(output, "--output")
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output} must end in .safetensors")
    from gemopt.engines import import_trace

    done = import_trace(
        engine,
        path,
        output,
        map=map,
        model=model,
        layer_ids=None if layer_ids is None else parse_layers("--layer-ids", layer_ids),
        batch=batch,
        experts=experts,
        padding_id=padding_id,
        skip_damaged=skip_damaged or None,
        seed=seed or None,
    )
    if as_json:
        facts = {"output": str(output), "steps": done.steps, "experts": done.experts}
        print_json({**facts, "layer_ids": done.layer_ids, "notes": done.notes})
        return 0
    print(
        f"{output}: {done.steps} steps, {len(done.layer_ids)} layers "
        f"({done.layer_ids[0]}..{done.layer_ids[-1]}), {done.experts} experts"
    )
    for note in done.notes:
        print(f"  {note}")
    return 0


def parse_layers(option: str, text: str) -> list[int]:
    """Read layers such as ``3-60`` or ``0,2,4-6``.

    Raises
    ------
    ValueError
        Names the option and the text.
    """
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            numbers = range(int(first), int(last if dash else first) + 1)
        except ValueError:
            numbers = range(0)
        if not numbers:
            raise ValueError(f"{option} = {text!r} must be layers, such as 3-60 or 0,2")
        layers += numbers
    return layers
