"""`benchmarks/structure.py` on a small tree whose structure is known."""

from pathlib import Path

import pytest

from benchmarks.structure import circles, read, report, rooms

FILES = {
    "gemopt/__init__.py": "",
    "gemopt/a/__init__.py": "",
    "gemopt/a/one.py": "from gemopt.b import two\n",
    "gemopt/b/__init__.py": "",
    "gemopt/b/two.py": "def f():\n    from gemopt.a.one import x\n    return x\n",
    "gemopt/c.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from gemopt.a.one import x\n"
        "HOME = 'gemopt_solvers.fast:Fast'\n"
        "def many(a, b, c, d, e, f, g, h, *, i):\n    '''Doc.'''\n"
        "    return TWO_LINES\n"
    ),
    "solvers/gemopt_solvers/__init__.py": "",
    "solvers/gemopt_solvers/fast.py": "from gemopt import c\n",
    "gpu_bench/gemopt_gpu_bench/__init__.py": "def f(): ...\n",
    "tests/test_one.py": "\n\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files above below a folder."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_arrows_and_circles(tree: Path) -> None:
    """Imports in functions count, those for type checkers and strings do not."""
    modules = read(tree)
    assert set(rooms(modules, "gemopt").edges) == {("a", "b"), ("b", "a")}
    assert circles(modules, inside=False) == []
    assert circles(modules, inside=True) == [["gemopt.a.one", "gemopt.b.two"]]


def test_report(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The printed report has wide functions, climbs by string, and latency rows."""
    report(tree, ["gemopt", "solvers"])
    printed = capsys.readouterr().out
    assert "| gemopt | 6 | 11 |" in printed and "| 1 (1) | 0 (0) |" in printed
    assert "gemopt.c names gemopt_solvers.fast in a string" in printed
    assert "rows of latency tables: 1\n- gemopt.c\n" in printed
    assert "| gemopt | 3 | 2 | a <-> b |" in printed
    assert "| gemopt_solvers | 1 | 0 | none |" in printed
