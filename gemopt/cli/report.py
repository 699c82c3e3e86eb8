"""``gemopt report``: a table from run files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gemopt.cli.common import InstancesOption, JsonOption, print_json, print_table


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run files of `gemopt bench`.")],
    table: Annotated[
        bool, typer.Option("--table", help="Print Markdown with its header.")
    ] = False,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Summarise runs: gaps to best and bound, share proven, times."""
    from gemopt.study.bench import read_runs
    from gemopt.study.table import TITLES, cells, header, render, summary

    records = [run for path in runs for run in read_runs(path)]
    if not records:
        raise ValueError(f"{', '.join(map(str, runs))}: no runs")
    best = _best_known(instances) if all(r["unseen"] is None for r in records) else {}
    if as_json:
        lines = [asdict(line) for line in summary(records, best)]
        print_json({"header": header(records), "solvers": lines})
    elif table:
        print(render(records, best))
    else:
        print(header(records))
        print_table(TITLES, [cells(line) for line in summary(records, best)])
    return 0


def _best_known(folder: Path | None) -> dict[str, float]:
    from gemopt.files.best_known import read_best_known

    known = read_best_known(folder or Path("instances"))
    return {
        name: entry.value_us
        for name, entry in known.items()
        if entry.value_us is not None
    }
