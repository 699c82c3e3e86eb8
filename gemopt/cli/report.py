"""``gemopt report``: a table from run files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import InstancesOption, JsonOption, print_json, print_table

if TYPE_CHECKING:
    from gemopt.study.table import Summary

#: Columns of the two tables that fit a terminal, by their titles.
_QUALITY = ("solver", "runs", "to best", "95 %", "worst", "at best", "p")
_REST = ("solver", "to bound", "proven", "unseen", "seconds")


def command(
    runs: Annotated[list[Path], typer.Argument(help="Run files of `gemopt bench`.")],
    by_instance: Annotated[
        bool, typer.Option("--by-instance", help="A line per instance and solver.")
    ] = False,
    as_markdown: Annotated[
        bool, typer.Option("--table", help="Print Markdown with its header.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    instances: InstancesOption = None,
    as_json: JsonOption = False,
) -> int:
    """Summarise runs: gaps to best and bound, share proven, times.

    Example: gemopt report runs.jsonl --latex
    """
    if as_markdown + as_csv + as_latex + as_json > 1:
        raise ValueError("give one of --table, --csv, --latex and --json")
    from gemopt.study import report
    from gemopt.study.bench import read_runs, run_key
    from gemopt.study.table import summary

    records = list(
        {run_key(run): run for path in runs for run in read_runs(path)}.values()
    )
    if not records:
        raise ValueError(f"{', '.join(map(str, runs))}: no runs")
    best = _best_known(records, instances)
    found = summary(records, best)
    known = bool(best) or any(run.get("best_known_us") for run in records)
    said = report.notes(found, known)
    if as_json:
        print_json(_document(found, report.header(records), said))
    elif as_markdown:
        table = report.markdown(found, by_instance=by_instance)
        print("\n\n".join([report.header(records), table, "\n".join(said)]))
    elif as_csv:
        print(report.csv_text(found, by_instance=by_instance), end="")
    elif as_latex:
        print(report.latex(found, by_instance=by_instance))
    else:
        print(report.header(records))
        if by_instance:
            print_table(report.CELL_TITLES, list(map(report.cell_texts, found.cells)))
        else:
            _print_lines(found)
        print("\n".join(said))
    return 0


def _print_lines(found: Summary) -> None:
    """Print two tables, each narrow enough for a terminal."""
    from gemopt.study.report import TITLES, line_texts

    for titles in (_QUALITY, _REST):
        at = [TITLES.index(title) for title in titles]
        texts = [[line_texts(line)[i] for i in at] for line in found.lines]
        print_table(titles, texts)
        print()


def _document(found: Summary, header: str, notes: list[str]) -> dict[str, Any]:
    return {
        "header": header,
        "notes": notes,
        "instances": found.instances,
        "left_out": found.left_out,
        "solvers": [asdict(line) for line in found.lines],
        "cells": [asdict(cell) for cell in found.cells],
        "failures": found.failures,
    }


def _best_known(runs: list[dict[str, Any]], given: Path | None) -> dict[str, float]:
    """Present best known values of the instances that the runs are of.

    The folder may know better ones than when the runs were made. It counts only for
    runs that found their instance in a catalogue then, or where it is asked for.
    """
    from gemopt.files.best_known import read_best_known
    from gemopt.files.catalog import folder

    if any(run["unseen"] is not None for run in runs):
        return {}
    names = {
        run["instance"]
        for run in runs
        if given is not None or run.get("best_known_us") is not None
    }
    return {
        name: entry.value_us
        for name, entry in read_best_known(folder(given)).items()
        if name in names and entry.value_us is not None
    }
