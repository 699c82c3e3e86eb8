"""``gemopt replay``: placements on real hardware, beside what the model says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gemopt.cli.common import (
    InstanceArg,
    InstancesOption,
    JsonOption,
    SeedOption,
    UnseenOption,
    microseconds,
    percent,
    print_json,
    print_table,
    require_torch,
    require_writable,
    split,
)

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement
    from gemopt_gpu_bench.replay.result import ReplayResult
    from gemopt_gpu_bench.replay.run import ReplaySettings

PlacementsArg = Annotated[
    list[Path],
    typer.Argument(help="Placement files; the first one is the baseline."),
]
TraceOption = Annotated[
    Path | None,
    typer.Option(help="Routing to replay instead of the instance's own steps."),
]
StepsOption = Annotated[
    int, typer.Option(help="Steps to replay, evenly spaced over all of them.")
]
LayersOption = Annotated[
    str | None,
    typer.Option(help="Layers to replay, by their index in the model [default: all]."),
]
RepeatsOption = Annotated[
    int, typer.Option(help="Times that everything is measured; intervals need 2.")
]
LimitOption = Annotated[
    str | None,
    typer.Option(
        help="Multiprocessors of each GPU of the instance, on one card: 132,120,104,88."
    ),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto (all visible GPUs), cuda:0, ..., or cpu.")
]
ProfileOption = Annotated[
    Path | None,
    typer.Option(help="Profile behind the instance: its layer, backend and mode."),
]
ModelOption = Annotated[str | None, typer.Option(help="Model that has the layer.")]
HiddenOption = Annotated[int | None, typer.Option(help="Width of a token.")]
InnerOption = Annotated[
    int | None, typer.Option("--intermediate", help="Width of an expert.")
]
BackendOption = Annotated[
    str | None,
    typer.Option(help="triton, grouped_mm or loop [default: triton, loop on a CPU]."),
]
ModeOption = Annotated[
    str | None, typer.Option(help="burst or sustained [default: burst].")
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Accept placements made for another instance."),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the result here (.json).")
]


def command(
    instance: InstanceArg,
    placements: PlacementsArg,
    trace: TraceOption = None,
    unseen: UnseenOption = None,
    steps: StepsOption = 32,
    layers: LayersOption = None,
    repeats: RepeatsOption = 5,
    sm_limit: LimitOption = None,
    device: DeviceOption = "auto",
    profile: ProfileOption = None,
    model: ModelOption = None,
    hidden: HiddenOption = None,
    intermediate: InnerOption = None,
    backend: BackendOption = None,
    mode: ModeOption = None,
    force: ForceOption = False,
    output: OutputOption = None,
    seed: SeedOption = 0,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run every GPU's share of every step for real and time the slowest GPU."""
    require_writable(output, "--output")
    require_torch("replay")
    from gemopt.cli.live import CountBar
    from gemopt.files.catalog import load
    from gemopt_gpu_bench.hosts import devices
    from gemopt_gpu_bench.replay.plan import make_plan
    from gemopt_gpu_bench.replay.run import assign, make_sessions, replay

    found = devices.find(device)
    base = _layer(profile, model, hidden, intermediate, found[0].type)
    backend, mode = backend or base.backend, mode or base.mode
    settings = replace(base, backend=backend, mode=mode, seed=seed)
    limits = None if sm_limit is None else _whole("--sm-limit", sm_limit)
    problem = load(instance, instances)
    named = _placements(placements, problem, force)
    seen, later = split(_with_trace(problem, trace), unseen)
    problem, named = _chosen(later or seen, named, steps, layers)
    plan = make_plan(problem, named)
    sessions = make_sessions(
        settings, assign(found, plan.num_gpus), plan.slots, plan.max_tokens, limits
    )
    with CountBar() as bar:
        bar.begin("loads")
        result = replay(plan, sessions, repeats=repeats, seed=seed, progress=bar.update)
    record = {
        "instance": problem.name,
        "layers": problem.layer_ids.tolist(),
        "settings": settings.to_json(),
        "sm_limits": limits,
        "device": devices.describe(found[0], sessions[0].clocks),
    }
    if output is not None:
        result.save(output, record)
    if as_json:
        print_json({**record, "placements": result.summary()})
    else:
        _show(problem, result)
    return 0


def _layer(
    profile: Path | None,
    model: str | None,
    hidden: int | None,
    intermediate: int | None,
    device: str,
) -> ReplaySettings:
    """Layer, backend and mode of a profile; or a model's layer, or one of widths.

    On the CPU a model's layer is shrunk as `gemopt profile` does.
    """
    from gemopt.files.errors import FileError
    from gemopt.files.profile_set import load_profiles
    from gemopt_gpu_bench import backends
    from gemopt_gpu_bench.backends.tiles import TileTable
    from gemopt_gpu_bench.profile.settings import settings_for, trial
    from gemopt_gpu_bench.replay.run import ReplaySettings

    if profile is not None:
        found = load_profiles(profile)[0]
        rows = found.backend.get("tiles")
        try:
            return ReplaySettings(
                int(found.shape["hidden"]),
                int(found.shape["intermediate"]),
                str(found.backend["name"]),
                str(found.measurement["mode"]),
                table=None if rows is None else TileTable.from_json(rows),
            )
        except KeyError as error:
            raise FileError(profile, f"lacks {error.args[0]!r}, the layer") from None
    if model is not None:
        known = settings_for(model, hidden=hidden, intermediate=intermediate)
        known = trial(known) if device == "cpu" else known
        hidden, intermediate = known.hidden, known.intermediate
    if hidden is None or intermediate is None:
        raise ValueError(
            "--profile is missing: what does the layer look like? Give the profile "
            "behind the instance, --model, or --hidden and --intermediate"
        )
    return ReplaySettings(hidden, intermediate, backends.default(device))


def _placements(
    paths: list[Path], problem: Instance, force: bool
) -> dict[str, Placement]:
    """Placements by name of their file."""
    from gemopt.files.placement_file import SUFFIX, load_placement

    named: dict[str, Placement] = {}
    for path in paths:
        name = path.name.removesuffix(SUFFIX)
        if name in named:
            raise ValueError(f"{path}: another placement is named {name!r} too")
        named[name] = load_placement(path, problem, force=force)
    return named


def _with_trace(problem: Instance, path: Path | None) -> Instance:
    """Put other routing, if any, into the place of the instance's own."""
    if path is None:
        return problem
    from gemopt.files.errors import FileError
    from gemopt.files.routing_file import read_routing
    from gemopt.model.instance import Instance

    routing = read_routing(path)
    _, layers, experts = routing.counts.shape
    if (layers, experts) != (problem.num_layers, problem.num_experts):
        raise FileError(
            path,
            f"has {layers} layers of {experts} experts, but {problem.name!r} "
            f"{problem.num_layers} of {problem.num_experts}",
        )
    return Instance.from_arrays(
        routing.counts,
        problem.latency,
        slots=problem.slots,
        node=problem.node,
        layer_ids=problem.layer_ids,
        weights=routing.weights,
        name=problem.name,
        gpu_names=problem.gpu_names,
    )


def _chosen(
    problem: Instance, named: dict[str, Placement], steps: int, layers: str | None
) -> tuple[Instance, dict[str, Placement]]:
    """Take some steps and layers of the instance and of its placements."""
    import numpy as np

    from gemopt.model.placement import Placement

    if steps < 1:
        raise ValueError(f"--steps = {steps} must be >= 1")
    every = problem.layer_ids.tolist()
    wanted = every if layers is None else _whole("--layers", layers)
    if missing := sorted(set(wanted) - set(every)):
        raise ValueError(f"--layers: no layer {missing[0]}; there are {every}")
    rows = [every.index(layer) for layer in wanted]
    count = min(steps, problem.num_steps)
    kept = np.linspace(0, problem.num_steps - 1, count).round().astype(np.int64)
    # Only the experts' part of a step is run.
    part = problem.without_communication().select(steps=kept, layers=rows)
    return part, {n: Placement(p.phy2log[rows], p.slots) for n, p in named.items()}


def _whole(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} = {text!r} must be whole numbers") from None


def _show(problem: Instance, result: ReplayResult) -> None:
    """Print one row for each placement."""
    base = result.names[0]
    print(
        f"{problem.name or 'instance'}: {problem.num_steps} steps, "
        f"{problem.num_layers} layers, {len(result.us)} repeats; gains over {base}"
    )
    rows = []
    for index, name in enumerate(result.names):
        gain, measured = result.gain(index), result.measured(index)
        rows.append(
            [
                name,
                microseconds(result.predicted[index]),
                microseconds(measured.mean),
                percent(result.error(index)),
                percent(gain.predicted),
                percent(gain.repeats.mean),
                _ends(gain.repeats.low, gain.repeats.high),
                _ends(gain.steps.low, gain.steps.high),
            ]
        )
    header = ["placement", "predicted us", "measured us", "error", "predicted gain"]
    print_table([*header, "measured gain", "95 % repeats", "95 % steps"], rows)
    print(f"mean error of a single load: {100 * result.load_mape():.2f} %")
    if result.throttled:
        print(f"{100 * result.throttled:.1f} % of loads ran with clocks held down")


def _ends(low: float, high: float) -> str:
    if not math.isfinite(low):
        return "-"
    return f"{100 * low:+.2f} .. {100 * high:+.2f} %"
