"""``gemopt generate``: synthetic routing, written as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, SeedOption, print_json, require_writable


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Trace to write (.safetensors).")
    ],
    model: Annotated[
        str | None, typer.Option(help="Shape of a known model, such as Qwen3-30B-A3B.")
    ] = None,
    experts: Annotated[int | None, typer.Option(help="Experts of a layer.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Experts of a token.")] = None,
    layers: Annotated[int | None, typer.Option(help="MoE layers.")] = None,
    steps: Annotated[int, typer.Option(help="Forward passes.")] = 512,
    tokens: Annotated[int, typer.Option(help="Tokens of a step.")] = 512,
    family: Annotated[
        str, typer.Option(help="bursts (as the GEM paper saw), uniform or zipf.")
    ] = "bursts",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Generate seeded synthetic traffic for a model's shape."""
    require_writable(output, "--output")
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output} must end in .safetensors")
    from gemopt.io.trace_file import save_trace
    from gemopt.routing import RoutingTrace
    from gemopt.traffic.generate import generate
    from gemopt.traffic.shapes import shape

    known = None if model is None else shape(model)
    sizes = {"experts": experts, "top_k": top_k, "layers": layers}
    for name, value in sizes.items():
        if value is None and known is None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is missing; give it, or --model")
        sizes[name] = value if value is not None else getattr(known, name)
    counts = generate(
        steps,
        sizes["layers"] or 0,
        sizes["experts"] or 0,
        tokens=tokens,
        top_k=sizes["top_k"] or 0,
        family=family,
        seed=seed,
    )
    ids = None if known is None or layers is not None else list(known.layer_ids)
    facts: dict[str, object] = {"source": "gemopt generate", "model": model}
    facts |= {"family": family, "tokens": tokens, "seed": seed}
    trace = RoutingTrace.from_arrays(
        counts, layer_ids=ids, name=output.name.split(".")[0], provenance=facts
    )
    save_trace(trace, output)
    shown = {"output": str(output), "shape": list(counts.shape), **facts}
    if as_json:
        print_json(shown)
    else:
        steps_, layers_, experts_ = counts.shape
        print(f"{output}: {steps_} steps, {layers_} layers, {experts_} experts")
    return 0
