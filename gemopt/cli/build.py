"""``gemopt build``: routing + latency + slots -> instance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import JsonOption, SeedOption, print_json, require_writable

if TYPE_CHECKING:
    from gemopt.files.profile_file import Profile
    from gemopt.latency import LatencyModel
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
    list[str] | None,
    typer.Option(
        "--profile",
        help="Measured profile of one GPU, of all, or one for all: a file, or one that "
        "ships, such as h100/Qwen3-30B-A3B; repeat.",
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
    str | None, typer.Option("--node", help="Node of each GPU: 0,0,1,1.")
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

    profiles = _profiles(profile, latency)
    nodes = None if node is None else _numbers("--node", node)
    routing = read_routing(
        trace,
        batch=batch,
        experts=experts,
        steps=steps,
        seed=seed,
        layers_first=layers_first,
    )
    if links is not None:
        _require_tokens(routing, hidden)
    instance = Instance.from_trace(
        routing.summed(width),
        profiles,
        gpus=gpus,
        slots=_slots(slots),
        node=nodes,
        topology=_topology(links, nodes),
        hidden=hidden,
        overlap=overlap,
        name=name or output.stem,
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


def _require_tokens(routing: RoutingTrace, hidden: int | None) -> None:
    if routing.tokens is None:
        raise ValueError("--links needs per-token expert_ids, the trace has counts")
    if hidden is None:
        raise ValueError("--hidden is missing, the width of a token, for --links")


def _topology(links: str | None, nodes: list[int] | None) -> Topology | None:
    """Links of a known machine, or measured ones from a file."""
    if links is None:
        return None
    if links.endswith(".json"):
        from gemopt.files.links_file import read_topology

        return read_topology(links, len(set(nodes or [0])))
    from gemopt.model.topology import topology

    return topology(links)


def _profiles(
    profiles: list[str] | None, latency: Path | None
) -> list[Profile] | list[LatencyModel]:
    """Measured GPUs of profiles, or models of a file."""
    if (latency is None) == (not profiles):
        raise ValueError(
            "give either --profile (a file of `gemopt profile`, or one that ships, "
            "such as h100/Qwen3-30B-A3B) or --latency, and not both"
        )
    if latency is not None:
        from gemopt.files.latency_file import read_latency

        return read_latency(latency)
    from gemopt.files.profile_set import load_profiles
    from gemopt.files.shipped import profile_path

    return [
        each for name in profiles or () for each in load_profiles(profile_path(name))
    ]


def _slots(text: str | None) -> int | list[int] | None:
    """Slots in all, or of each GPU."""
    if text is None:
        return None
    numbers = _numbers("--slots", text)
    return numbers if len(numbers) > 1 else numbers[0]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} = {text!r} must be whole numbers") from None
