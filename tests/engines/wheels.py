"""Single functions of the engines' own wheels, run with stand-ins for the rest."""

import __future__

import ast
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

_HOW = (
    "needs the wheel {0} in the folder that GEMOPT_WHEELS names; get it with "
    "pip download --no-deps -d FOLDER {1}"
)


def definitions(
    wheel: str, member: str, names: list[str], stand_ins: dict[str, Any]
) -> dict[str, Any]:
    """Execute top-level definitions of a file in a wheel, and nothing else of it.

    Skips the test when the wheel is not there.
    """
    folder = os.environ.get("GEMOPT_WHEELS")
    found = sorted(Path(folder).glob(f"{wheel}-*.whl")) if folder else []
    if not found:
        name, version = wheel.split("-")
        pytest.skip(_HOW.format(wheel, f"{name.replace('_', '-')}=={version}"))
    with zipfile.ZipFile(found[0]) as archive:
        tree = ast.parse(archive.read(member))
    nodes = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names
    ]
    assert {node.name for node in nodes} == set(names)
    code = compile(
        ast.Module(nodes, []), member, "exec", __future__.annotations.compiler_flag
    )
    space = {"__name__": __name__, **stand_ins}
    exec(code, space)
    return space
