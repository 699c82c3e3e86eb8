"""A summary of runs as texts: for the terminal, Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from gemopt.study.table import SHIFT_SECONDS, Cell, Line, Run, Summary

TITLES = (
    "solver",
    "runs",
    "to best",
    "95 %",
    "worst",
    "at best",
    "p",
    "to bound",
    "proven",
    "unseen",
    "seconds",
)
CELL_TITLES = ("instance", "solver", "seeds", "us", "to best", "unseen", "seconds")


def line_texts(line: Line) -> list[str]:
    """The texts of one solver, in the order of `TITLES`."""
    between = "-"
    if math.isfinite(line.low):
        between = f"{100 * line.low:.2f}..{100 * line.high:.2f}"
    return [
        line.solver,
        str(line.runs),
        _percent(line.to_best),
        between,
        _percent(line.worst_to_best),
        _share(line.at_best),
        _number(line.p_value),
        _percent(line.to_bound),
        _share(line.proven),
        _percent(line.unseen),
        _number(line.seconds),
    ]


def cell_texts(cell: Cell) -> list[str]:
    """The texts of one solver on one instance, in the order of `CELL_TITLES`."""
    return [
        cell.instance,
        cell.solver,
        str(cell.seeds),
        f"{cell.objective_us:,.0f}",
        _percent(cell.to_best),
        _percent(cell.unseen),
        _number(cell.seconds),
    ]


def _percent(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{100 * ratio:.2f} %"


def _share(ratio: float) -> str:
    return "-" if math.isnan(ratio) else f"{100 * ratio:.0f} %"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def header(runs: Sequence[Run]) -> str:
    """Machine, versions and limits of the runs, each variant on a line of its own."""
    seen: dict[str, None] = {}
    for run in runs:
        m = run.get("machine", {})
        versions = ", ".join(f"{k} {v}" for k, v in m.get("versions", {}).items())
        limit = run["time_limit"]
        text = (
            f"{m.get('cpu', 'unknown processor')}, {m.get('cores', '?')} cores, "
            f"1 core a run, {m.get('runs_at_once', '?')} at once; "
            f"time limit {'none' if limit is None else f'{limit:g} s'}, "
            f"iterations {run['iterations']}, unseen {run['unseen']}, "
            f"bound {run['bound_effort']}; {versions}"
        )
        seen[text] = None
    return "\n".join(seen)


def notes(found: Summary, best_known: bool) -> list[str]:
    """What a reader of the figures must know, a sentence a line."""
    best = "best known or found" if best_known else "best of these runs"
    first = found.lines[0].solver
    said = [
        f"Means over {found.instances} instances that all solvers solved; "
        f"gaps are to the {best}.",
        "95 %: bootstrap interval of the mean over instances, in percent. "
        f"p: Wilcoxon's paired test against {first}.",
        f"seconds: geometric mean shifted by {SHIFT_SECONDS:g} s, without loading and "
        "compiling.",
    ]
    if found.left_out:
        said.append(f"Left out: {found.left_out} runs that some solver lacks.")
    if not found.instances:
        said[0] = "There is no run that all solvers solved: nothing can be averaged."
    for solver, reasons in found.failures.items():
        for reason, count in reasons.items():
            times = "1 run" if count == 1 else f"{count} runs"
            said.append(f"{solver}: {times} without a placement: {reason}")
    return said


def markdown(found: Summary, *, by_instance: bool = False) -> str:
    """The table in Markdown."""
    titles, rows = _texts(found, by_instance)
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def latex(found: Summary, *, by_instance: bool = False) -> str:
    """The table in LaTeX, for the package booktabs."""
    titles, rows = _texts(found, by_instance)
    words = 2 if by_instance else 1
    lines = [rf"\begin{{tabular}}{{{'l' * words}{'r' * (len(titles) - words)}}}"]
    lines += [r"\toprule", _latex_line(titles), r"\midrule"]
    lines += [_latex_line(row) for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_line(texts: Sequence[str]) -> str:
    return " & ".join(map(_latex_text, texts)) + r" \\"


def _latex_text(text: str) -> str:
    for sign in "%_&#$":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("..", "--")


def csv_text(found: Summary, *, by_instance: bool = False) -> str:
    """Every figure as CSV with a header; ratios are plain, unknown ones empty."""
    records: Sequence[Mapping[str, object]]
    records = [asdict(each) for each in (found.cells if by_instance else found.lines)]
    file = io.StringIO()
    if records:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(records[0])
        for record in records:
            writer.writerow([_csv_value(value) for value in record.values()])
    return file.getvalue()


def _csv_value(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _texts(
    found: Summary, by_instance: bool
) -> tuple[tuple[str, ...], list[list[str]]]:
    if by_instance:
        return CELL_TITLES, [cell_texts(cell) for cell in found.cells]
    return TITLES, [line_texts(line) for line in found.lines]
