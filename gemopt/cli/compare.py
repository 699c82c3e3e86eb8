"""``gemopt compare``: solvers side by side, on seen and unseen steps."""

from __future__ import annotations

import math
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
    percent,
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
        str, typer.Option(help="Solver that differences are taken against.")
    ] = "linear",
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
    """Run several solvers on the first steps and judge them on the later ones."""
    require_writable(picture, "--picture")
    value = parse_effort(bound)
    if picture is not None and not pareto:
        raise ValueError(f"--picture {picture} goes with --pareto")
    from gemopt.cli.live import live_observer
    from gemopt.files.catalog import load
    from gemopt.run.registry import entry
    from gemopt.run.registry import solvers as all_solvers
    from gemopt.study.compare import compare

    names = all_solvers() if solver == "all" else [n.strip() for n in solver.split(",")]
    for name in {*names, reference} - {"auto"}:
        entry(name)
    problem = load(instance, instances)
    effort: dict[str, Any] = {
        "unseen": unseen,
        "time_limit": time_limit,
        "iterations": iterations,
        "seed": seed,
        "jobs": jobs,
    }
    if pareto:
        return _pareto(problem, names, picture, as_json, effort)
    observer = live_observer(time_limit, iterations)
    rows = compare(problem, names, observer=observer, bound_effort=value, **effort)
    code = 0 if any(math.isfinite(row["seen_us"]) for row in rows) else 1
    if rows[-1]["stop_reason"] == "interrupted":
        code = 130
    if sort is not None:
        rows.sort(key=lambda row: (math.isnan(row[_KEYS[sort]]), row[_KEYS[sort]]))
    if as_json:
        print_json({"instance": problem.name, "unseen": unseen, "rows": rows})
        return code
    _show(problem, rows, reference)
    return code


def _show(problem: Instance, rows: list[dict[str, Any]], reference: str) -> None:
    """Print the table, with differences against `reference` or else the first row."""
    base = next((row for row in rows if row["solver"] == reference), rows[0])
    print(
        f"{problem.name or 'instance'}: {problem.num_layers} layers, "
        f"{problem.num_experts} experts in {problem.num_slots} slots on "
        f"{problem.num_gpus} GPUs; {rows[0]['seen_steps']} steps seen, "
        f"{rows[0]['unseen_steps']} unseen; differences against {base['solver']}"
    )
    parts = [] if problem.comm is None else ["straggler us", "communication us"]
    header = ["solver", "seen us", "", "unseen us", "", *parts]
    print_table(
        [*header, "bound us", "gap", "seconds", ""],
        [_cells(row, base, parts=bool(parts)) for row in rows],
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


def _cells(row: dict[str, Any], base: dict[str, Any], *, parts: bool) -> list[str]:
    """Cells of a row; with `parts`, what of its unseen time is what."""
    keys = ("unseen_straggler_us", "unseen_communication_us") if parts else ()
    if row["refused"] is not None:
        return [row["solver"], *["-"] * (7 + len(keys)), row["refused"]]
    seen, unseen = row["seen_us"], row["unseen_us"]
    gap = f"{100 * row['gap']:.2f} %" if math.isfinite(row["gap"]) else "-"
    return [
        row["solver"],
        microseconds(seen),
        percent(seen / base["seen_us"] - 1.0),
        microseconds(unseen),
        percent(unseen / base["unseen_us"] - 1.0),
        *(microseconds(row[key]) for key in keys),
        microseconds(row["lower_bound_us"]),
        gap,
        f"{row['seconds']:.3f}",
        row["status"],
    ]
