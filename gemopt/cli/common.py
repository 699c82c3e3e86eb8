"""What commands share: exit codes, options, and one-line errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gemopt.model import Instance

FOUND, NONE_FOUND, USAGE, INTERRUPTED = 0, 1, 2, 130
#: Seconds of a run when neither a time nor an iteration limit is given.
DEFAULT_SECONDS = 10.0

InstanceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE", help="Instance file, or a name from `gemopt instances`."
    ),
]
InstancesOption = Annotated[
    Path | None,
    typer.Option(
        "--instances",
        help="Folder for instance names [default: $GEMOPT_INSTANCES or ./instances].",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Accept a placement made for another instance.")
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        min=0.0,
        help=f"Seconds [default: {DEFAULT_SECONDS:.0f} without --iterations].",
        show_default=False,
    ),
]
IterationsOption = Annotated[
    int | None,
    typer.Option("--iterations", min=0, help="Iterations; then every machine agrees."),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of randomness.")]
JobsOption = Annotated[
    int, typer.Option("--jobs", min=1, help="Threads; the answer is the same.")
]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="KEY=VALUE", help="Option of the solver."),
]


def seconds(time_limit: float | None, iterations: int | None) -> float | None:
    """Time limit of a run: the given one, or the default when nothing limits it."""
    if time_limit is None and iterations is None:
        return DEFAULT_SECONDS
    return time_limit


def parameters(pairs: list[str] | None, preset: str | None = None) -> dict[str, Any]:
    """Turn ``KEY=VALUE`` texts into params; values are JSON or else plain text.

    Raises
    ------
    ValueError
        A text without ``=`` or a key given twice.
    """
    found: dict[str, Any] = {} if preset is None else {"preset": preset}
    for pair in pairs or []:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ValueError(f"--param {pair!r} must be KEY=VALUE")
        if key in found:
            raise ValueError(f"--param {key!r} is given twice")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = text
    return found


def split_unseen(
    instance: Instance, fraction: float | None
) -> tuple[Instance, Instance | None]:
    """Split by time; `fraction` of the steps are unseen, none for 0 or None.

    Raises
    ------
    ValueError
        `fraction` is outside 0..1, or a part would hold no step.
    """
    if not fraction:
        return instance, None
    if not 0 < fraction < 1:
        raise ValueError(f"--unseen = {fraction} must be between 0 and 1")
    try:
        return instance.split(1 - fraction)
    except ValueError:
        raise ValueError(
            f"--unseen = {fraction} of {instance.num_steps} steps leaves a part empty"
        ) from None


def error_line(error: Exception) -> str:
    """Say in one line what is wrong, naming the file where there is one."""
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error) or type(error).__name__
    return re.sub(r"\s+", " ", text)
