"""``gemopt generate``: synthetic routing, as a trace or as a whole instance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import JsonOption, SeedOption, print_json, require_writable

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.trace import RoutingTrace
    from gemopt.traffic.shapes import Shape


OutputOption = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Trace (.safetensors), per-token experts (.npz), or with --gpus "
        "instance (.json).",
    ),
]
ModelOption = Annotated[
    str | None, typer.Option(help="Shape of a known model, such as Qwen3-30B-A3B.")
]
ExpertsOption = Annotated[int | None, typer.Option(help="Experts of a layer.")]
TopKOption = Annotated[int | None, typer.Option(help="Experts of a token.")]
LayersOption = Annotated[int | None, typer.Option(help="MoE layers.")]
StepsOption = Annotated[int, typer.Option(help="Forward passes.")]
TokensOption = Annotated[int, typer.Option(help="Tokens of a step.")]
FamilyOption = Annotated[
    str, typer.Option(help="bursts (as the GEM paper saw), uniform or zipf.")
]
GpusOption = Annotated[
    int | None, typer.Option(help="Make an instance on so many emulated GPUs.")
]
SlotsOption = Annotated[
    int | None, typer.Option(help="Slots of all GPUs together [default: experts].")
]
VariabilityOption = Annotated[
    str | None, typer.Option(help="none, low, medium or high [default: medium].")
]


def command(
    output: OutputOption,
    model: ModelOption = None,
    experts: ExpertsOption = None,
    top_k: TopKOption = None,
    layers: LayersOption = None,
    steps: StepsOption = 512,
    tokens: TokensOption = 512,
    family: FamilyOption = "bursts",
    gpus: GpusOption = None,
    slots: SlotsOption = None,
    variability: VariabilityOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Generate seeded synthetic traffic for a model's shape."""
    require_writable(output, "--output")
    suffixes = (".safetensors", ".npz") if gpus is None else (".json",)
    if output.suffix not in suffixes:
        raise ValueError(f"--output {output} must end in {' or '.join(suffixes)}")
    for option, value in (("--slots", slots), ("--variability", variability)):
        if gpus is None and value is not None:
            raise ValueError(f"{option} = {value} needs --gpus")
    traffic: dict[str, Any] = {
        "steps": steps,
        "tokens": tokens,
        "family": family,
        "seed": seed,
    }
    sizes: dict[str, Any] = {"experts": experts, "top_k": top_k, "layers": layers}
    made: RoutingTrace | Instance
    if output.suffix == ".npz":
        made = _tokens(model, sizes, traffic, output)
    elif gpus is None:
        from gemopt.files.trace_file import save_trace

        made = _trace(model, sizes, traffic, output)
        save_trace(made, output)
    else:
        from gemopt.files.instance_file import save
        from gemopt.traffic.emulated import emulated_instance

        made = emulated_instance(
            _shape(model, sizes),
            gpus,
            slots,
            variability=variability or "medium",
            name=output.stem,
            **traffic,
        )
        save(made, output)
    steps_, layers_, experts_ = made.counts.shape
    facts = {"output": str(output), "shape": [steps_, layers_, experts_]}
    if as_json:
        print_json({**facts, "model": model, "gpus": gpus, **traffic})
    else:
        print(f"{output}: {steps_} steps, {layers_} layers, {experts_} experts")
    return 0


def _shape(model: str | None, sizes: dict[str, Any]) -> Shape:
    """Shape of a known model, with the sizes that were given instead of its own."""
    from dataclasses import replace

    from gemopt.traffic.shapes import shape

    if model is None:
        raise ValueError("--model is missing; its sizes give the latency of --gpus")
    given = {name: value for name, value in sizes.items() if value is not None}
    return replace(shape(model), **given)


def _sizes(
    model: str | None, sizes: dict[str, Any]
) -> tuple[dict[str, Any], list[int] | None]:
    """Sizes to draw, given or the model's, and the indices of the layers."""
    ids = None
    if model is not None:
        known = _shape(model, sizes)
        sizes = {name: getattr(known, name) for name in sizes}
        ids = list(known.layer_ids)
    for name, value in sizes.items():
        if value is None:
            option = name.replace("_", "-")
            raise ValueError(f"--{option} is missing; give it, or --model")
    return sizes, ids


def _tokens(
    model: str | None, sizes: dict[str, Any], traffic: dict[str, Any], output: Path
) -> RoutingTrace:
    """Draw every token's experts, by the model's groups, and write them."""
    import numpy as np

    from gemopt.files.atomic import replacing
    from gemopt.model.trace import RoutingTrace
    from gemopt.traffic.shapes import shape
    from gemopt.traffic.tokens import draw_tokens

    sizes, ids = _sizes(model, sizes)
    groups: dict[str, Any] = {}
    if model is not None:
        known = shape(model)
        groups = {"n_group": known.n_group, "topk_group": known.topk_group}
    tokens = draw_tokens(**sizes, **traffic, **groups)
    arrays = {
        "expert_ids": tokens.expert_ids,
        "step_offsets": tokens.step_offsets,
        "n_group": np.int64(tokens.n_group),
        "topk_group": np.int64(tokens.topk_group),
    }
    if ids is not None:
        arrays["layer_ids"] = np.array(ids)
    with replacing(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    counts = tokens.counts(sizes["experts"])
    return RoutingTrace.from_arrays(counts, layer_ids=ids, tokens=tokens)


def _trace(
    model: str | None,
    sizes: dict[str, Any],
    traffic: dict[str, Any],
    output: Path,
) -> RoutingTrace:
    from gemopt.model.trace import RoutingTrace
    from gemopt.traffic.generate import generate

    sizes, ids = _sizes(model, sizes)
    source = {k: v for k, v in traffic.items() if k != "steps"}
    return RoutingTrace.from_arrays(
        generate(**sizes, **traffic),
        layer_ids=ids,
        name=output.name.split(".")[0],
        provenance={"source": "gemopt generate", "model": model, **source},
    )
