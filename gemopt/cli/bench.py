"""``gemopt bench``: solvers x instances x seeds, into a run file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    EffortOption,
    InstancesOption,
    IterationsOption,
    JsonOption,
    ParamOption,
    TimeOption,
    UnseenOption,
    parse_effort,
    print_json,
    require_writable,
)

if TYPE_CHECKING:
    from gemopt.model.instance import Instance


def command(
    instance: Annotated[
        list[str],
        typer.Argument(help="Instance files, names, patterns as 'tiny-*', or `all`."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run file, .jsonl.")],
    solver: Annotated[
        str,
        typer.Option("--solvers", "-s", help="Names, separated by commas; or `all`."),
    ],
    seed: Annotated[str, typer.Option("--seeds", help="As 0-4 or 0,1,7.")] = "0",
    param: ParamOption = None,
    time_limit: TimeOption = None,
    iterations: IterationsOption = None,
    unseen: UnseenOption = None,
    bound: EffortOption = "quick",
    jobs: Annotated[int, typer.Option("--jobs", "-j", help="Runs at once.")] = 1,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run every solver on every instance with every seed; finished runs are kept.

    Example: gemopt bench 'tiny-*' -s search,gem --seeds 0-4 --time-limit 5 -o r.jsonl
    """
    require_writable(output, "--output")
    if jobs < 1:
        raise ValueError(f"--jobs = {jobs} must be >= 1")
    from gemopt.cli.ranges import (
        expand_instances,
        parse_seeds,
        parse_solvers,
        solver_params,
    )
    from gemopt.study.bench import bench

    solvers, seeds = parse_solvers(solver), parse_seeds(seed)
    params = solver_params(param, solvers)
    problems, best = _read(expand_instances(instance, instances), instances)
    total = len(problems) * len(solvers) * len(seeds)
    show = _Shown(total)
    code = 0
    try:
        bench(
            solvers,
            problems,
            seeds,
            output,
            params=params,
            best_known=best if unseen is None else {},
            time_limit=time_limit,
            iterations=iterations,
            unseen=unseen,
            bound_effort=parse_effort(bound),
            jobs=jobs,
            done=show,
        )
    except KeyboardInterrupt:
        code = 130
    _tell(show.made, total, output, interrupted=code == 130, as_json=as_json)
    return code


class _Shown:
    """Keeps the runs made; on a terminal each is a line on stderr."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.made: list[dict[str, Any]] = []

    def __call__(self, run: dict[str, Any]) -> None:
        self.made.append(run)
        if sys.stderr.isatty():
            key = f"{run['instance']} {run['solver']} {run['seed']}"
            done = f"{len(self.made)}/{self.total}"
            print(f"{done} {key}: {_told(run)}", file=sys.stderr)


def _tell(
    made: list[dict[str, Any]],
    total: int,
    output: Path,
    *,
    interrupted: bool,
    as_json: bool,
) -> None:
    """Say how many runs were made and kept, and where they are."""
    kept = 0 if interrupted else total - len(made)
    faults = sum(bool(run.get("fault")) for run in made)
    if as_json:
        counts = {"runs": len(made), "kept": kept, "faults": faults}
        print_json({**counts, "interrupted": interrupted, "file": str(output)})
    elif interrupted:
        print(f"interrupted: {len(made)} runs made, in {output}; start again to go on")
    else:
        more = f", {faults} of them faulty" if faults else ""
        print(f"{len(made)} runs made{more}, {kept} kept, in {output}")


def _told(run: dict[str, Any]) -> str:
    """What came of a run, in a few words."""
    if "error" in run:
        return str(run["error"])
    cost = run["objective_us"]
    return "nothing found" if cost is None else f"{cost:.6g} us"


def _read(
    given: list[str], folder: Path | None
) -> tuple[dict[str, Instance], dict[str, float]]:
    """Instances and best known objectives, by the instance's own name."""
    from gemopt.files.best_known import best_known_us
    from gemopt.files.catalog import load, resolve

    problems: dict[str, Instance] = {}
    best: dict[str, float] = {}
    for text in given:
        path = resolve(text, folder)
        problem = load(path)
        name = problem.name or path.stem
        if name in problems:
            raise ValueError(f"{text}: an instance named {name!r} is there already")
        problems[name] = problem
        value = best_known_us(path, folder)
        if value is not None:
            best[name] = value
    return problems, best
