"""``gemopt build``: routing + latency + slots -> instance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import JsonOption, SeedOption, print_json, require_writable

if TYPE_CHECKING:
    from gemopt.latency import LatencyModel
    from gemopt.model.communication import Communication
    from gemopt.model.instance import Instance
    from gemopt.model.topology import Topology
    from gemopt.model.trace import RoutingTrace

TraceArg = Annotated[
    Path,
    typer.Argument(
        help="Trace (.safetensors), or .npz with counts or per-token expert_ids."
    ),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Instance file to write (.json).")
]
ProfileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--profile", help="Measured profile of one GPU, of all, or one for all; repeat."
    ),
]
LatencyOption = Annotated[
    Path | None,
    typer.Option("--latency", help="JSON file of one latency model, or a list."),
]
GpusOption = Annotated[
    int | None, typer.Option(help="GPUs, where one model stands for all.")
]
SlotsOption = Annotated[
    str | None,
    typer.Option(help="Slots in all, or of each GPU: 288 or 10,10,9 [default: E]."),
]
NodeOption = Annotated[
    str | None, typer.Option("--node", help="Host of each GPU: 0,0,1,1.")
]
BatchOption = Annotated[
    int | None,
    typer.Option(help="Requests that run at a time; for per-token expert_ids."),
]
ExpertsOption = Annotated[
    int | None, typer.Option(help="Experts of a layer; for per-token expert_ids.")
]
StepsOption = Annotated[
    int | None, typer.Option(help="Steps to serve; for per-token expert_ids.")
]
SumOption = Annotated[
    int, typer.Option("--sum", help="Sum this many following steps into one.")
]
NameOption = Annotated[str | None, typer.Option(help="Name of the instance.")]
LinksOption = Annotated[
    str | None,
    typer.Option(
        help="Add all-to-all costs: nvlink-host or another known machine, or a file "
        "of measured links (.json)."
    ),
]
HiddenOption = Annotated[
    int | None, typer.Option(help="Width of a token's activation; for --links.")
]
OverlapOption = Annotated[
    float, typer.Option(help="Share of communication hidden behind compute, 0..1.")
]
FirstOption = Annotated[
    bool, typer.Option("--layers-first", help="counts is [layers, steps, experts].")
]


def command(
    trace: TraceArg,
    output: OutputOption,
    profile: ProfileOption = None,
    latency: LatencyOption = None,
    gpus: GpusOption = None,
    slots: SlotsOption = None,
    node: NodeOption = None,
    batch: BatchOption = None,
    experts: ExpertsOption = None,
    steps: StepsOption = None,
    width: SumOption = 1,
    layers_first: FirstOption = False,
    links: LinksOption = None,
    hidden: HiddenOption = None,
    overlap: OverlapOption = 0.0,
    name: NameOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Build an instance from routing, latency models and slots."""
    require_writable(output, "--output")
    if output.suffix != ".json":
        raise ValueError(f"--output {output} must end in .json")
    from gemopt.files.instance_file import save
    from gemopt.files.routing_file import read_routing
    from gemopt.model.instance import Instance
    from gemopt.traffic.windows import sum_windows

    models, names = _models(profile, latency, gpus)
    hosts = None if node is None else _numbers("--node", node)
    routing = read_routing(
        trace,
        batch=batch,
        experts=experts,
        steps=steps,
        seed=seed,
        layers_first=layers_first,
    )
    instance = Instance.from_arrays(
        routing.counts if width == 1 else sum_windows(routing.counts, width),
        models,
        slots=_slots(slots, len(models)),
        node=hosts,
        layer_ids=routing.layer_ids,
        weights=routing.weights if width == 1 else None,
        name=name or output.stem,
        gpu_names=names,
        provenance={**routing.provenance, "summed_steps": width},
        comm=_communication(routing, width, _topology(links, hosts), hidden, overlap),
    )
    save(instance, output)
    _show(instance, output, as_json)
    return 0


def _show(instance: Instance, output: Path, as_json: bool) -> None:
    facts: dict[str, Any] = {
        "output": str(output),
        "steps": instance.num_steps,
        "layers": instance.num_layers,
        "experts": instance.num_experts,
        "gpus": instance.num_gpus,
        "slots": instance.slots.tolist(),
        "communication": instance.comm is not None,
    }
    if as_json:
        print_json(facts)
        return
    print(
        f"{output}: {instance.num_steps} steps, {instance.num_layers} layers, "
        f"{instance.num_experts} experts in {instance.num_slots} slots on "
        f"{instance.num_gpus} GPUs"
    )


def _communication(
    routing: RoutingTrace,
    width: int,
    chosen: Topology | None,
    hidden: int | None,
    overlap: float,
) -> Communication | None:
    """Communication of the instance, if links were named."""
    if chosen is None:
        return None
    from gemopt.model.communication import Communication

    if routing.tokens is None:
        raise ValueError("--links needs per-token expert_ids, the trace has counts")
    if hidden is None:
        raise ValueError("--hidden is missing, the width of a token, for --links")
    return Communication.from_routing(
        routing.tokens if width == 1 else routing.tokens.summed(width),
        chosen,
        num_experts=routing.counts.shape[2],
        hidden=hidden,
        overlap=overlap,
    )


def _topology(links: str | None, hosts: list[int] | None) -> Topology | None:
    """Links of a known machine, or measured ones from a file."""
    if links is None:
        return None
    if links.endswith(".json"):
        from gemopt.files.links_file import read_topology

        return read_topology(links, len(set(hosts or [0])))
    from gemopt.model.topology import topology

    return topology(links)


def _models(
    profiles: list[Path] | None, latency: Path | None, gpus: int | None
) -> tuple[list[LatencyModel], list[str]]:
    """Latency model and name of each GPU."""
    if (latency is None) == (not profiles):
        raise ValueError("give either --latency or --profile, and not both")
    if latency is not None:
        from gemopt.files.latency_file import read_latency

        models, names = read_latency(latency), []
    else:
        from gemopt.files.profile_set import load_profiles

        read = [each for path in profiles or () for each in load_profiles(path)]
        models, names = [p.latency for p in read], [p.name for p in read]
    if len(models) == 1 and gpus is not None:
        return models * gpus, [f"{names[0]}-{g}" for g in range(gpus)] if names else []
    if gpus is not None and gpus != len(models):
        raise ValueError(f"--gpus = {gpus}, but there are {len(models)} latency models")
    if len(set(names)) < len(names):
        names = [f"{each}-{g}" for g, each in enumerate(names)]
    return models, names


def _slots(text: str | None, gpus: int) -> list[int] | None:
    """Slots of each GPU; one number is the sum, dealt evenly."""
    if text is None:
        return None
    numbers = _numbers("--slots", text)
    if len(numbers) > 1 or gpus == 1:
        return numbers
    whole, rest = divmod(numbers[0], gpus)
    return [whole + (g < rest) for g in range(gpus)]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} = {text!r} must be whole numbers") from None
