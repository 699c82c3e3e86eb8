"""``gemopt profile``: latency of expert layers, measured on the GPUs here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    JsonOption,
    SeedOption,
    percent,
    print_json,
    print_table,
    require_torch,
)

if TYPE_CHECKING:
    from gemopt.files.profile_file import Profile
    from gemopt_gpu_bench.hosts.ranks import Group
    from gemopt_gpu_bench.profile.compare import ProfileComparison
    from gemopt_gpu_bench.profile.options import Options

ShapesArg = Annotated[
    list[str] | None, typer.Argument(help="Models by name [default: all seven].")
]
HiddenOption = Annotated[
    int | None, typer.Option(help="Width of a token, for other models.")
]
IntermediateOption = Annotated[int | None, typer.Option(help="Width of an expert.")]
ExpertsOption = Annotated[int | None, typer.Option(help="Experts on one GPU.")]
TotalOption = Annotated[
    int | None,
    typer.Option(help="Experts of a layer [default: those of all GPUs]."),
]
OutputOption = Annotated[
    Path, typer.Option("--output", "-o", help="Folder, or file NAME.profile.json.")
]
BackendOption = Annotated[
    str | None,
    typer.Option(help="triton, grouped_mm or loop [default: triton on a GPU]."),
]
DeviceOption = Annotated[
    str, typer.Option(help="auto (all GPUs), cpu (a trial), cuda, cuda:0,1, xpu...")
]
LimitOption = Annotated[
    str | None, typer.Option(help="Limits of SMs, a profile each: 132,120,104,88.")
]
ConcurrentOption = Annotated[
    bool, typer.Option("--concurrent", help="All GPUs at once, as under load.")
]
ModeOption = Annotated[
    str | None,
    typer.Option(
        help="burst, or sustained: at the power cap [default with --concurrent]."
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option(help="Most token-expert assignments on a GPU [default: 8192]."),
]
TraceOption = Annotated[
    Path | None,
    typer.Option(help="Routing to draw loads from, as `build` takes it."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on after an interruption.")
]
ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Replace a profile of another device or model."),
]
SelftestOption = Annotated[
    bool,
    typer.Option("--selftest", help="Check every backend against float32 instead."),
]
CompareOption = Annotated[
    bool,
    typer.Option("--compare", help="Arguments are profiles: which GPU is faster?"),
]


def command(
    shape: ShapesArg = None,
    hidden: HiddenOption = None,
    intermediate: IntermediateOption = None,
    experts: ExpertsOption = None,
    total_experts: TotalOption = None,
    output: OutputOption = Path(),
    backend: BackendOption = None,
    device: DeviceOption = "auto",
    sm_limit: LimitOption = None,
    concurrent: ConcurrentOption = False,
    mode: ModeOption = None,
    max_tokens: TokensOption = None,
    trace: TraceOption = None,
    resume: ResumeOption = False,
    force: ForceOption = False,
    selftest: SelftestOption = False,
    compare: CompareOption = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> int:
    """Measure how long GPUs take for the experts' work and fit latency models."""
    names = tuple(shape or ())
    if compare:
        return _compare([Path(name) for name in names], as_json)
    require_torch("profile")
    from gemopt_gpu_bench.profile.options import Options

    options = Options(
        names, hidden, intermediate, experts, total_experts, output, backend, device,
        sm_limit, concurrent, mode, max_tokens, trace, resume, force, seed,
    )  # fmt: skip
    if selftest:
        return _selftest(options, as_json)
    return _measure(options, as_json)


def _measure(options: Options, as_json: bool) -> int:
    from gemopt_gpu_bench.hosts import devices
    from gemopt_gpu_bench.hosts.launch import launch
    from gemopt_gpu_bench.hosts.ranks import make_group, started_together

    if options.concurrent and not started_together():
        count = len(devices.find(options.device))
        if count > 1:
            json_option = ["--json"] if as_json else []
            return launch([*options.arguments(), *json_option], count)
    with make_group() as group:
        try:
            return _measure_in(group, options, as_json)
        except ValueError:
            if group.rank == 0:
                raise
            return 2  # rank 0 says why


def _measure_in(group: Group, options: Options, as_json: bool) -> int:
    """Measure all shapes in this process, as one of `group`."""
    from gemopt.cli.live import CountBar
    from gemopt_gpu_bench.hosts.ranks import DoesNotFit
    from gemopt_gpu_bench.profile.run import prepare

    with CountBar(group.rank == 0) as bar:

        def say(line: str) -> None:
            if group.rank == 0:
                bar.say(f"gemopt: {line}")

        run, tasks, warnings = prepare(options, group)
        run.progress = bar.update
        for line in warnings:
            say(line)
        done: dict[Path, tuple[Profile, ...]] = {}
        missing = 0
        for number, task in enumerate(tasks, 1):
            bar.begin(f"{task.settings.model} ({number} of {len(tasks)})")
            try:
                if run.finished(task):
                    say(f"{task.output}: is there, kept")
                else:
                    done[task.output] = run.measure(task)
            except DoesNotFit as error:
                say(f"skipped: {error}")
                missing += 1
            except KeyboardInterrupt:
                say(
                    f"points so far are kept beside {task.output}; the same command "
                    "with --resume goes on"
                )
                raise
    if group.rank == 0:
        _report(done, as_json)
    return 1 if missing else 0


def _report(done: dict[Path, tuple[Profile, ...]], as_json: bool) -> None:
    """Print one line for each profile, what was skipped, and how GPUs compare."""
    rows = [(path, each) for path, profiles in done.items() for each in profiles]
    if as_json:
        print_json([{"file": str(path), **_facts(each)} for path, each in rows])
        return
    header = ("file", "GPU", "seconds", "points", "model", "MAPE", "p95", "targets")
    print_table(header, [_row(path, each) for path, each in rows])
    for path, each in rows:
        for note in each.measurement["skipped"]:
            print(f"{path}: {each.name}: {note}")
    for path, profiles in done.items():
        if len(profiles) > 1:
            print(f"\n{path}, other GPUs against {profiles[0].name}:")
            _print_comparisons(_comparisons(profiles))


def _facts(each: Profile) -> dict[str, Any]:
    facts = dict(each.measurement)
    return {
        "gpu": each.name,
        "model": each.shape["model"],
        "seconds": facts["seconds"],
        "points": sum(facts["points"].values()),
        "fit": each.fits[0].validation,
        "missed_targets": facts["missed_targets"],
        "skipped": facts["skipped"],
    }


def _row(path: Path, each: Profile) -> tuple[str, ...]:
    facts = _facts(each)
    fit = facts["fit"]
    return (
        str(path),
        each.name,
        f"{facts['seconds']:.1f}",
        str(facts["points"]),
        str(fit["family"]),
        f"{100 * fit['mape']:.2f} %",
        f"{100 * fit['p95']:.2f} %",
        "; ".join(facts["missed_targets"]) or "met",
    )


def _selftest(options: Options, as_json: bool) -> int:
    from gemopt_gpu_bench import selftest
    from gemopt_gpu_bench.backends.tiles import known_table
    from gemopt_gpu_bench.hosts import devices

    checks = []
    for device in devices.find(options.device):
        chosen = options.settings(device.type, 1) if options.shapes else []
        tables = [known_table(*each.shape) for each in chosen]
        found, skipped = selftest.check_all(device, tables)
        checks += found
        for line in skipped:
            print(f"gemopt: {line}", file=sys.stderr)
    if as_json:
        print_json([vars(check) | {"passed": check.passed} for check in checks])
    else:
        print(selftest.table_text(checks))
    return 0 if all(check.passed for check in checks) else 1


def _compare(paths: Sequence[Path], as_json: bool) -> int:
    from gemopt.files.profile_set import load_profiles

    profiles = [each for path in paths for each in load_profiles(path)]
    if len(profiles) < 2:
        raise ValueError(
            f"--compare has {len(profiles)} GPUs to compare; give two profiles, or one "
            "of several GPUs"
        )
    found = _comparisons(profiles)
    if as_json:
        print_json(
            [
                {"first": profiles[0].name, "second": name, "loads": loads, **facts}
                for name, loads, facts in _as_records(found)
            ]
        )
    else:
        print(f"other GPUs against {profiles[0].name}:")
        _print_comparisons(found)
    return 0


Comparisons = list[tuple[str, "dict[str, ProfileComparison | None]"]]


def _comparisons(profiles: Sequence[Profile]) -> Comparisons:
    """Compare every GPU after the first with the first."""
    from gemopt_gpu_bench.profile.compare import compare_ranges

    first, *others = profiles
    return [(each.name, compare_ranges(first, each)) for each in others]


def _as_records(found: Comparisons) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (
            name,
            loads,
            {
                "ratio": each.overall.ratio,
                "low": each.overall.low,
                "high": each.overall.high,
                "own_spread": each.spread,
                "verdict": each.overall.verdict.value,
            },
        )
        for name, ranges in found
        for loads, each in ranges.items()
        if each is not None
    ]


def _print_comparisons(found: Comparisons) -> None:
    header = ("GPU", "loads", "time", "interval", "own spread", "verdict")
    rows = [
        (
            name,
            loads,
            percent(facts["ratio"] - 1),
            f"{percent(facts['low'] - 1)} .. {percent(facts['high'] - 1)}",
            f"{100 * facts['own_spread']:.2f} %",
            facts["verdict"],
        )
        for name, loads, facts in _as_records(found)
    ]
    print_table(header, rows)
    for name, ranges in found:
        overall = ranges["all"]
        if overall is not None:
            print(f"{name}: {overall.advice()}")
