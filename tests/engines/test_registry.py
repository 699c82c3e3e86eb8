"""Engines by entry point: ours, and those of other packages."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.cli import main
from gemopt.engines import export_map, import_map, open_trace, registry
from gemopt.model.placement import Placement

TRACE = """
import numpy as np
from gemopt.engines.source import TraceSource

def open_trace(path, *, experts=4):
    counts = np.loadtxt(path, dtype=np.int64).reshape(-1, 1, experts)
    return TraceSource(path, iter([counts]), provenance={"engine": "plain"})
"""
MAP = """
import numpy as np
from gemopt.engines.mapping import read_rows

def write_map(mapping, path):
    np.savetxt(path, mapping.placement.phy2log, fmt="%d")

def read_map(path, *, gpus=2):
    return read_rows(path, "map", np.loadtxt(path, dtype=int, ndmin=2), gpus, None)
"""


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that brings the engine ``plain``, a broken one, and a false sglang."""
    site = tmp_path / "site"
    for package, trace, map in (
        ("plain_engine", TRACE, MAP),
        ("broken_engine", "import no_such_module", ""),
    ):
        (site / package).mkdir(parents=True)
        (site / package / "__init__.py").write_text("")
        (site / package / "trace.py").write_text(trace)
        if map:
            (site / package / "map.py").write_text(map)
    info = site / "plain_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[gemopt.engines]\nplain = plain_engine\nbroken = broken_engine\n"
        "gone = no_such_package\nsglang = plain_engine\n"
    )
    monkeypatch.syspath_prepend(str(site))
    registry.engines.cache_clear()
    yield tmp_path
    registry.engines.cache_clear()
    for name in [each for each in sys.modules if each.startswith("plain_engine")]:
        del sys.modules[name]


def test_an_engine_of_another_package(
    other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Import and export, with the options of its functions."""
    np.savetxt(other / "counts.txt", np.arange(1, 13).reshape(2, 6), fmt="%d")
    output = other / "t.safetensors"
    command = ["import", "plain", str(other / "counts.txt"), "-o", str(output)]
    assert main([*command, "--experts", "6"]) == 0
    assert gemopt.load_trace(output).counts.shape == (2, 1, 6)
    assert main([*command, "--batch", "6"]) == 2
    assert "--batch = 6 is no option of plain" in capsys.readouterr().err
    placement = Placement(np.array([[0, 1, 2, 3]]), np.array([2, 2]))
    export_map("plain", placement, other / "map.txt")
    assert import_map("plain", other / "map.txt").placement == placement


def test_broken_engines_do_no_harm(other: Path) -> None:
    """A third party's broken engine is its own error; ours keep their names."""
    with pytest.raises(ValueError, match="'broken' of plain cannot be loaded"):
        open_trace("broken", other)
    with pytest.raises(ValueError, match="'gone' is unknown here"):
        open_trace("gone", other)
    assert registry.engines()["sglang"].origin == "gemopt"


def test_unknown_engines() -> None:
    """The message names those that have what is asked for."""
    with pytest.raises(ValueError, match=r"'tokens' is unknown here.*known: sglang"):
        import_map("tokens", "x", gpus=1)
    with pytest.raises(ValueError, match="did you mean 'trtllm'"):
        open_trace("trtlm", "x")


def test_pyproject_has_the_same_engines() -> None:
    """The entry points that others find are the table that is read here."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert project["entry-points"][registry.GROUP] == registry.BUILT_IN
    for engine in registry.BUILT_IN:
        assert registry.engines()[engine].has("trace")
