"""``gemopt warm-up``: compile ahead, so that no user waits for it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gemopt.cli.common import JsonOption, print_json


def command(
    solvers: Annotated[
        str | None,
        typer.Option("--solvers", "-s", help="Names, separated by commas."),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Compile the solvers once, for instance while an image is built.

    The code is kept in numba's cache: beside the package, or in NUMBA_CACHE_DIR.

    \b
    For example:
      gemopt warm-up
      NUMBA_CACHE_DIR=/opt/numba gemopt warm-up --solvers search
    """
    from gemopt.run.warm_up import SOLVERS, warm_up

    names = SOLVERS if solvers is None else tuple(n.strip() for n in solvers.split(","))
    if sys.stderr.isatty():
        print("gemopt: compiling, this may take a minute", file=sys.stderr)
    kernels, seconds = warm_up(names)
    if as_json:
        print_json({"kernels": kernels, "compile_seconds": seconds})
    elif kernels:
        print(f"{kernels} kernels compiled in {seconds:.1f} s")
    else:
        print("nothing to compile, all is in the cache")
    return 0
