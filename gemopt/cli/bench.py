"""``gemopt bench``: solvers x instances x seeds, into a run file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gemopt.cli.common import (
    EffortOption,
    InstancesOption,
    IterationsOption,
    JsonOption,
    TimeOption,
    UnseenOption,
    parse_effort,
    print_json,
    require_writable,
)


def command(
    instance: Annotated[list[str], typer.Argument(help="Instance files or names.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run file, .jsonl.")],
    solver: Annotated[
        list[str], typer.Option("--solver", "-s", help="Solver; repeat.")
    ],
    seed: Annotated[list[int], typer.Option("--seed", help="Seed; repeat.")],
    time_limit: TimeOption = None,
    iterations: IterationsOption = None,
    unseen: UnseenOption = None,
    bound: EffortOption = "quick",
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs at once.")] = 1,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run every solver on every instance with every seed; finished runs are kept."""
    require_writable(output, "--output")
    if jobs < 1:
        raise ValueError(f"--jobs = {jobs} must be >= 1")
    from gemopt.files.catalog import load
    from gemopt.study.bench import bench

    problems = {name: load(name, instances) for name in instance}
    total = len(problems) * len(solver) * len(seed)
    count = 0

    def show(run: dict[str, Any]) -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty():
            text = run.get("error") or f"{run['objective_us']:.6g} us"
            key = f"{run['instance']} {run['solver']} {run['seed']}"
            print(f"{count}/{total} {key}: {text}", file=sys.stderr)

    made = bench(
        solver,
        problems,
        seed,
        output,
        time_limit=time_limit,
        iterations=iterations,
        unseen=unseen,
        bound_effort=parse_effort(bound),
        jobs=jobs,
        done=show,
    )
    if as_json:
        print_json({"runs": made, "kept": total - made, "file": str(output)})
    else:
        print(f"{made} runs made, {total - made} kept, in {output}")
    return 0
