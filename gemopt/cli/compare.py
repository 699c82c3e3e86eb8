"""``gemopt compare``: solvers side by side, on seen and unseen steps."""

from __future__ import annotations

import math
import sys
from enum import StrEnum
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
    SeedOption,
    TimeOption,
    microseconds,
    parse_effort,
    print_json,
    print_table,
    require_writable,
)

if TYPE_CHECKING:
    from gemopt.model.instance import Instance


class Order(StrEnum):
    """What rows are sorted by."""

    UNSEEN = "unseen"
    SEEN = "seen"
    TIME = "time"


#: Seconds for each solver where no limit is given, so that a slow one ends.
DEFAULT_SECONDS = 30.0
#: With fewer steps on one side, figures are warned of.
FEW_STEPS = 16
_KEYS = {Order.UNSEEN: "unseen_us", Order.SEEN: "seen_us", Order.TIME: "seconds"}

SolversOption = Annotated[
    str, typer.Option("--solvers", "-s", help="Names, separated by commas; or `all`.")
]
ParetoOption = Annotated[
    bool,
    typer.Option(
        "--pareto", help="Sweep the weight of communication: straggler against traffic."
    ),
]
PictureOption = Annotated[
    Path | None, typer.Option("--picture", help="Draw the sweep to this file.")
]


def command(
    instance: InstanceArg,
    solver: SolversOption = "linear,eplb,lpt,gem,auto",
    unseen: Annotated[
        float,
        typer.Option(help="Share of the steps, at the end, that no solver sees."),
    ] = 0.5,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Differences are against this solver [default: linear, or the first]."
        ),
    ] = None,
    sort: Annotated[
        Order | None, typer.Option(help="Order of the rows [default: as given].")
    ] = None,
    pareto: ParetoOption = False,
    picture: PictureOption = None,
    time_limit: TimeOption = None,
    iterations: IterationsOption = None,
    seed: SeedOption = 0,
    jobs: JobsOption = 1,
    bound: EffortOption = "quick",
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Run several solvers on the first steps and judge them on the later ones.

    Each has 30 s unless --time-limit or --iterations says otherwise.

    Example: gemopt compare real-b512-g4-s68-tiles -s linear,eplb,search
    """
    require_writable(picture, "--picture")
    value = parse_effort(bound)
    if picture is not None and not pareto:
        raise ValueError(f"--picture {picture} goes with --pareto")
    from gemopt.cli.comparison import Running, show
    from gemopt.cli.ranges import parse_solvers
    from gemopt.files.catalog import load
    from gemopt.study.compare import compare

    names = parse_solvers(solver)
    against = _reference(reference, names)
    problem = load(instance, instances)
    _check_steps(problem, instance, unseen)
    if time_limit is None and iterations is None:
        time_limit = DEFAULT_SECONDS
    effort: dict[str, Any] = {"unseen": unseen, "seed": seed, "jobs": jobs}
    effort |= {"time_limit": time_limit, "iterations": iterations}
    if pareto:
        return _pareto(problem, names, picture, as_json, effort)
    live = Running(names, against, time_limit, iterations, bound)
    rows = compare(
        problem, names, observer=live, done=live.row, bound_effort=value, **effort
    )
    if sort is not None:
        rows.sort(key=lambda row: (math.isnan(row[_KEYS[sort]]), row[_KEYS[sort]]))
    if as_json:
        document = {"instance": problem.name, "reference": against, **effort}
        print_json({**document, "bound_effort": value, "rows": rows})
    else:
        show(problem, rows, against, bound)
    return _code(rows)


def _code(rows: list[dict[str, Any]]) -> int:
    """Exit code: 130 after Ctrl-C, 1 if no solver found anything."""
    if any(row["stop_reason"] == "interrupted" for row in rows):
        return 130
    return 0 if any(math.isfinite(row["seen_us"]) for row in rows) else 1


def _reference(given: str | None, names: list[str]) -> str:
    """Name of the solver that differences are taken against.

    Raises
    ------
    ValueError
        It does not run.
    """
    if given is None:
        return "linear" if "linear" in names else names[0]
    if given not in names:
        raise ValueError(
            f"--reference {given} is not among --solvers {','.join(names)}; add it"
        )
    return given


def _check_steps(problem: Instance, given: str, unseen: float) -> None:
    """Refuse a single step; warn of few, on stderr.

    Raises
    ------
    ValueError
        There is one step, so that none can be kept back.
    """
    if problem.num_steps < 2:
        raise ValueError(
            f"{given}: has 1 step; --unseen {unseen:g} needs at least 2, to keep some "
            "from the solvers"
        )
    if not 0.0 < unseen < 1.0:
        return  # refused by `compare`
    kept = round(problem.num_steps * unseen)
    fewest = min(kept, problem.num_steps - kept)
    if fewest < FEW_STEPS:
        print(
            f"warning: {given} has {problem.num_steps} steps, {fewest} in the smaller "
            "part: differences between solvers may be chance",
            file=sys.stderr,
        )


def _pareto(
    problem: Instance,
    names: list[str],
    picture: Path | None,
    as_json: bool,
    effort: dict[str, Any],
) -> int:
    """Sweep the weight of communication; print, and draw, what comes of it."""
    from gemopt.study.pareto import draw_pareto, pareto

    rows = pareto(problem, names, **effort)
    if picture is not None:
        draw_pareto(rows, picture)
    if as_json:
        print_json({"instance": problem.name, "rows": rows})
        return 0
    header = ["solver", "weight", "total us", "straggler us", "communication us"]
    print_table(
        [*header, "intra tokens", "inter tokens", "efficient"],
        [
            [
                row["solver"],
                f"{row['weight']:g}",
                microseconds(row["total_us"]),
                microseconds(row["straggler_us"]),
                microseconds(row["communication_us"]),
                f"{row['intra_tokens']:.0f}",
                f"{row['inter_tokens']:.0f}",
                "yes" if row["efficient"] else "",
            ]
            for row in rows
        ],
    )
    return 0
