"""Options and output that several commands share."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gemopt.model.instance import Instance

InstanceArg = Annotated[
    str, typer.Argument(help="Instance file, or a name from the instances folder.")
]
InstancesOption = Annotated[
    Path | None,
    typer.Option("--instances", help="Folder of instances [default: ./instances]."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of all randomness.")]
JobsOption = Annotated[
    int, typer.Option("--jobs", "-j", help="Threads; the answer does not change.")
]
TimeOption = Annotated[
    float | None, typer.Option("--time-limit", help="Stop after this many seconds.")
]
IterationsOption = Annotated[
    int | None, typer.Option("--iterations", help="Stop after this many iterations.")
]
UnseenOption = Annotated[
    float | None,
    typer.Option(
        "--unseen",
        help="Share of the steps, at the end, that the solver does not see.",
    ),
]
EffortOption = Annotated[
    str, typer.Option("--bound", help="none, quick, strong, or seconds a layer.")
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="KEY=VALUE", help="Option of the solver."),
]


def split(instance: Instance, unseen: float | None) -> tuple[Instance, Instance | None]:
    """Split by time into what the solver sees and what it does not.

    Raises
    ------
    ValueError
        The share is not between 0 and 1, or leaves a part empty.
    """
    if unseen is None:
        return instance, None
    if not 0.0 < unseen < 1.0:
        raise ValueError(f"--unseen = {unseen} must be between 0 and 1")
    return instance.split(1.0 - unseen)


def parse_effort(text: str) -> str | float:
    """Turn a text into the effort of a lower bound.

    Raises
    ------
    ValueError
        Neither a known name nor a number of seconds >= 0.
    """
    from gemopt.bounds.lower_bound import effort_seconds

    try:
        value: str | float = float(text)
    except ValueError:
        value = text
    effort_seconds(value)
    return value


def parse_params(pairs: Iterable[str] | None) -> dict[str, Any]:
    """Turn ``key=value`` texts into options; values are JSON where they parse.

    Raises
    ------
    ValueError
        A text without ``=``.
    """
    params: dict[str, Any] = {}
    for pair in pairs or ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"--param {pair!r} must look like key=value")
        try:
            params[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            params[key.strip()] = text
    return params


def require_writable(path: Path | None, option: str) -> None:
    """Refuse an output that cannot be written before any work is done.

    Raises
    ------
    ValueError
        The folder is missing or not writable, or the path is a folder.
    """
    if path is None:
        return
    folder = path.parent
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; give a file")
    if not folder.is_dir():
        raise ValueError(f"{option} {path}: folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option} {path}: folder {folder} is not writable")


def require_torch(command: str) -> None:
    """Raise ValueError with the smallest thing to install where torch is missing."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ValueError(
            f"{command} needs the package torch, which is not installed; install the "
            "build for your GPU (pytorch.org), or pip install 'gemopt[gpu]'"
        )


def print_json(value: Any) -> None:
    """Print `value` as JSON; NaN and infinite numbers become null."""
    print(json.dumps(finite(value), indent=2, allow_nan=False))


def finite(value: Any) -> Any:
    """Copy nested values with numbers that JSON does not know turned into None."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: styled on a terminal, plain aligned columns in a pipe.

    Columns with words are set flush left, columns of numbers flush right.
    """
    columns = list(zip(header, *rows, strict=True))
    words = [i == 0 or _has_words(column[1:]) for i, column in enumerate(columns)]
    widths = [max(map(len, column)) for column in columns]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        for title, left in zip(header, words, strict=True):
            table.add_column(title, justify="left" if left else "right", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row))
        console = Console()
        # The terminal may fold lines; no cell is cut.
        console.width = max(console.width, sum(widths) + 3 * len(widths))
        console.print(table)
        return
    for line in (header, *rows):
        cells = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, words, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _has_words(cells: Sequence[str]) -> bool:
    return any(cell[:1].isalpha() for cell in cells)


def percent(ratio: float) -> str:
    """Format a ratio as a percentage with a sign, or a dash when unknown."""
    return f"{100 * ratio:+.2f} %" if math.isfinite(ratio) else "-"


def microseconds(value: float) -> str:
    """Format us with six digits, or a dash when unknown."""
    return f"{value:.6g}" if math.isfinite(value) else "-"
