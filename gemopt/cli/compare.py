"""`gemopt compare`: solvers side by side on one instance."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import (
    FOUND,
    INTERRUPTED,
    NONE_FOUND,
    InstanceArgument,
    InstancesOption,
    IterationsOption,
    JobsOption,
    JsonOption,
    SeedOption,
    TimeLimitOption,
    seconds,
    split_unseen,
)

if TYPE_CHECKING:
    from gemopt.model import Instance
    from gemopt.result import Result


class Order(StrEnum):
    """What rows are sorted by."""

    UNSEEN = "unseen"
    SEEN = "seen"
    TIME = "time"
    NAME = "name"


def compare(
    instance: InstanceArgument,
    solver: Annotated[
        list[str] | None,
        typer.Option(
            "--solver", "-s", help="Solvers, with commas or repeated [default: all]."
        ),
    ] = None,
    reference: Annotated[
        str, typer.Option(help="Solver that percentages refer to.")
    ] = "linear",
    unseen: Annotated[
        float | None,
        typer.Option(
            help="Part of the steps, the last ones, kept from the solvers; "
            "0 for none [default: 0.5].",
            show_default=False,
        ),
    ] = None,
    sort: Annotated[Order, typer.Option(help="Order of the rows.")] = Order.UNSEEN,
    time_limit: TimeLimitOption = None,
    iterations: IterationsOption = None,
    seed: SeedOption = 0,
    jobs: JobsOption = 1,
    instances: InstancesOption = None,
    json: JsonOption = False,
) -> int:
    """Run solvers on the same steps and compare them on steps they did not see."""
    import gemopt
    from gemopt.cli.bar import progress_bar
    from gemopt.cli.output import print_json

    names = _names(solver, reference)
    whole = gemopt.load(instance, instances)
    if unseen is None:
        unseen = 0.5 if whole.num_steps > 1 else 0.0
    seen, later = split_unseen(whole, unseen)
    limit = seconds(time_limit, iterations)
    options = {"time_limit": limit, "iterations": iterations, "seed": seed}
    rows, interrupted = [], False
    for name in names:
        with progress_bar(name, limit, iterations) as observer:
            row, result = _run(seen, later, name, observer, jobs, options)
        rows.append(row)
        if result is not None and result.stop_reason == "interrupted":
            interrupted = True
            break
    rows = _ranked(_judged(rows, reference, later is not None), sort)
    report = {
        "instance": whole.name,
        "steps_seen": seen.num_steps,
        "steps_unseen": 0 if later is None else later.num_steps,
        "seed": seed,
        "reference": reference,
        "solvers": rows,
    }
    if json:
        print_json(report)
    else:
        _show(report)
    if interrupted:
        return INTERRUPTED
    return FOUND if any(row["seen_us"] is not None for row in rows) else NONE_FOUND


def _names(given: list[str] | None, reference: str) -> list[str]:
    """Solvers to run, in order, each once; raises ValueError for an unknown one."""
    from gemopt import registry

    names = [name for text in given or [] for name in text.split(",") if name]
    if not names:
        known = registry.entries()
        names = [name for name in registry.solvers() if known[name].installed]
    if reference not in names and reference != "auto":
        names.append(reference)
    for name in names:
        if name != "auto":
            registry.entry(name)
    return list(dict.fromkeys(names))


def _run(
    seen: Instance,
    later: Instance | None,
    name: str,
    observer: Any,
    jobs: int,
    options: dict[str, Any],
) -> tuple[dict[str, Any], Result | None]:
    """Run one solver; a solver that cannot take the instance gives a row with why."""
    from gemopt.evaluation import evaluate
    from gemopt.front_door import solve

    row: dict[str, Any] = {"solver": name, "seen_us": None, "unseen_us": None}
    try:
        # Once on one step of one layer, so that loading compiled code is not timed.
        solve(seen.layer(0).steps(0, 1), name, iterations=1, time_limit=1.0)
        result = solve(seen, name, observer=observer, jobs=jobs, **options)
    except ValueError as error:
        return {**row, "problem": str(error)}, None
    if result.placement is not None:
        row["seen_us"] = result.objective
        if later is not None:
            row["unseen_us"] = evaluate(later, result.placement).objective
    row |= {
        "status": str(result.status),
        "stop_reason": str(result.stop_reason),
        "lower_bound_us": result.lower_bound,
        "seconds": result.seconds,
        "iterations": result.iterations,
    }
    return row, result


def _judged(
    rows: list[dict[str, Any]], reference: str, split: bool
) -> list[dict[str, Any]]:
    """Add the gap to the best bound of all solvers, and the saving on the reference."""
    key = "unseen_us" if split else "seen_us"
    bound = max(row.get("lower_bound_us", -math.inf) for row in rows)
    base = next((row[key] for row in rows if row["solver"] == reference), None)
    for row in rows:
        cost, seen = row[key], row["seen_us"]
        known = base is not None and cost is not None and base > 0
        row["against_reference"] = (cost - base) / base if known else None
        gap = seen is not None and seen > 0 and math.isfinite(bound)
        row["gap"] = max(0.0, (seen - bound) / seen) if gap else None
        row["best_bound_us"] = bound if math.isfinite(bound) else None
    return rows


def _ranked(rows: list[dict[str, Any]], sort: Order) -> list[dict[str, Any]]:
    def key(row: dict[str, Any]) -> Any:
        if sort == Order.NAME:
            return row["solver"]
        if sort == Order.TIME:
            value = row.get("seconds")
        elif sort == Order.UNSEEN and row["unseen_us"] is not None:
            value = row["unseen_us"]
        else:
            value = row["seen_us"]
        return (value is None, value or 0.0, row["solver"])

    return sorted(rows, key=key)


def _show(report: dict[str, Any]) -> None:
    from gemopt.cli.output import percent, print_table, us

    split = report["steps_unseen"] > 0
    against = f"vs {report['reference']}"
    columns = ["solver", "seen us", *(["unseen us"] if split else []), against]
    columns += ["bound us", "gap", "time s", "ended"]
    cells = []
    for row in report["solvers"]:
        ended = row.get("stop_reason", "cannot run")
        cells.append(
            [row["solver"], us(row["seen_us"])]
            + ([us(row["unseen_us"])] if split else [])
            + [
                percent(row["against_reference"], sign=True),
                us(row.get("lower_bound_us")),
                percent(row["gap"]),
                f"{row['seconds']:.3f}" if "seconds" in row else "-",
                "proven optimal" if row.get("status") == "optimal" else ended,
            ]
        )
    what = "unseen" if split else "seen"
    caption = (
        f"{report['instance']}: {report['steps_seen']} steps seen, "
        f"{report['steps_unseen']} unseen. {against}: {what} cost. gap: seen cost above "
        "the best bound."
    )
    print_table(columns, cells, left=["solver", "ended"], caption=caption)
    for row in report["solvers"]:
        if "problem" in row:
            print(f"{row['solver']}: {row['problem']}")
