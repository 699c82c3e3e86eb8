"""Single functions of the engines' own packages, run with stand-ins for the rest."""

import __future__

import ast
import os
from pathlib import Path
from typing import Any

import pytest


def definitions(
    wheel: str, member: str, names: list[str], stand_ins: dict[str, Any]
) -> dict[str, Any]:
    """Execute top-level definitions of a file in a wheel, and nothing else of it.

    Skips the test when ``GEMOPT_WHEELS`` names no folder with the unpacked wheel.
    """
    path = Path(os.environ.get("GEMOPT_WHEELS", "")) / member
    if not path.is_file():
        pytest.skip(
            f"GEMOPT_WHEELS names no folder with {member}; get it with pip download "
            f"--no-deps {wheel}, and unzip it there"
        )
    nodes = [
        node
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    ]
    assert {node.name for node in nodes} == set(names)
    code = compile(
        ast.Module(nodes, []), member, "exec", __future__.annotations.compiler_flag
    )
    space = {"__name__": __name__, **stand_ins}
    exec(code, space)
    return space
