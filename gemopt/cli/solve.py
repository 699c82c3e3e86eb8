"""``gemopt solve``: find a placement for an instance."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    EffortOption,
    InstanceArg,
    InstancesOption,
    IterationsOption,
    JobsOption,
    JsonOption,
    ParamOption,
    SeedOption,
    TimeOption,
    UnseenOption,
    parse_effort,
    parse_params,
    print_json,
    require_writable,
    split,
)

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.run.result import Result


SolverOption = Annotated[
    str, typer.Option("--solver", "-s", help="Solver, see `gemopt solvers`.")
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", help="Placement file to write.")
]
StartOption = Annotated[
    Path | None, typer.Option("--start", help="Placement file to start from.")
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="Preset of the solver's options.")
]
ImprovementsOption = Annotated[
    Path | None,
    typer.Option("--improvements", help="Write improvements to a .csv or .jsonl file."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Accept a start made for another instance.")
]


def command(
    instance: InstanceArg,
    solver: SolverOption = "auto",
    output: OutputOption = None,
    time_limit: TimeOption = None,
    iterations: IterationsOption = None,
    seed: SeedOption = 0,
    start: StartOption = None,
    preset: PresetOption = None,
    param: ParamOption = None,
    jobs: JobsOption = 1,
    bound: EffortOption = "quick",
    unseen: UnseenOption = None,
    improvements: ImprovementsOption = None,
    force: ForceOption = False,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find a placement; write it, and print its cost seen and unseen."""
    require_writable(output, "--output")
    require_writable(improvements, "--improvements")
    if improvements is not None and improvements.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"--improvements {improvements} must end in .csv or .jsonl")
    effort = parse_effort(bound)
    params = parse_params(param)
    if preset is not None:
        params["preset"] = preset
    from gemopt.cli.live import live_observer
    from gemopt.files.catalog import load
    from gemopt.files.placement_file import load_placement, save_placement
    from gemopt.run.solve import solve

    problem = load(instance, instances)
    seen, later = split(problem, unseen)
    first = None if start is None else load_placement(start, problem, force=force)
    result = solve(
        seen,
        solver,
        time_limit=time_limit,
        iterations=iterations,
        seed=seed,
        start=first,
        params=params or None,
        observer=live_observer(time_limit, iterations),
        jobs=jobs,
        bound_effort=effort,
    )
    if output is not None and result.placement is not None:
        steps = (0, seen.num_steps)
        save_placement(result.placement, output, problem, result=result, steps=steps)
    if improvements is not None:
        _write_trace(result, improvements)
    report = _report(result, later)
    if as_json:
        print_json(report)
    else:
        _show(problem, result, report, output)
    if result.stop_reason == "interrupted":
        return 130
    return 0 if result.placement is not None else 1


def _write_trace(result: Result, path: Path) -> None:
    from gemopt.files.atomic import replacing

    write = result.trace.to_csv if path.suffix == ".csv" else result.trace.to_jsonl
    with replacing(path) as temporary:
        write(temporary)


def _report(result: Result, later: Instance | None) -> dict[str, Any]:
    from gemopt.cost.evaluate import evaluate

    unseen = None
    if later is not None and result.placement is not None:
        unseen = evaluate(later, result.placement).objective
    return {
        "solver": result.solver,
        "status": str(result.status),
        "stop_reason": str(result.stop_reason),
        "objective_us": result.objective,
        "lower_bound_us": result.lower_bound,
        "gap": result.gap,
        "unseen_objective_us": unseen,
        "seconds": result.seconds,
        "iterations": result.iterations,
        "seed": result.seed,
        "stats": dict(result.stats),
    }


def _show(
    problem: Instance, result: Result, report: dict[str, Any], output: Path | None
) -> None:
    print(f"{problem.name or 'instance'}: {result.summary()}")
    if math.isfinite(result.lower_bound):
        print(f"lower bound {result.lower_bound:.6g} us")
    if report["unseen_objective_us"] is not None:
        print(f"unseen steps {report['unseen_objective_us']:.6g} us")
    if output is not None and result.placement is not None:
        print(f"written to {output}")
