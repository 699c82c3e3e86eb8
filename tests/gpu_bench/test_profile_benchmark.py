"""The scripts behind docs/profiling.md: a trial on the CPU, tables and pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gemopt.files.profile_set import load_profiles

ROOT = Path(__file__).parents[2]
PROFILES = ROOT / "instances" / "profiles"


def _run(script: str, *arguments: object) -> str:
    """Run a benchmark with one thread; return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{script}", *map(str, arguments)]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_profiles_dense_curves_and_tables(tmp_path: Path) -> None:
    """One shape gives a profile, a dense curve, a summary, and two tables."""
    options = ("--device", "cpu", "--vectors", 20, "--dense", 30)
    printed = _run("profile", tmp_path, *options, "--model", "Mixtral-8x7B")
    (profile,) = load_profiles(tmp_path / "cpu-mixtral-8x7b_64-e2.profile.json")
    (row,) = json.loads((tmp_path / "summary.json").read_text())
    assert row["profiles"][0]["points"] == len(profile.points)
    dense = json.loads((tmp_path / "cpu-mixtral-8x7b_64-e2.dense.json").read_text())
    assert len(dense["us_by_tokens"]) == row["dense"]["dense"] == 30
    tables = _run("profile", tmp_path, "--tables")
    assert tables.count("| Mixtral-8x7B/64 e2 |") == 2
    assert all(line in printed for line in tables.splitlines()[2:])


def test_table_of_backends(tmp_path: Path) -> None:
    """Ratios are Triton's over the best other; rates are shares of the ceilings."""
    rows = [{"tokens": 8192, "triton": 1200.0, "grouped_mm": 1000.0, "loop": 1100.0}]
    shape = {"hidden": 4096, "intermediate": 4096, "experts": 2, "rows": rows}
    ceilings = {"tflops": 1000.0, "tbps": 3.0}
    body = {"device": {"name": "GPU"}, "ceilings": ceilings, "shapes": {"m": shape}}
    (tmp_path / "x-backends.json").write_text(json.dumps(body))
    tables = _run("backends", tmp_path, "--tables")
    assert (
        "| 8192 | 1200.0 | 1000.0 | 1100.0 | 1.20 | 687 (69%) | 0.17 (6%) |" in tables
    )
    assert "| m | 1.20 | 8192 | 1 of 1 | 1.20 |" in tables


@pytest.mark.skipif(not PROFILES.is_dir(), reason="no committed profiles")
def test_pictures_are_drawn_from_committed_profiles(tmp_path: Path) -> None:
    """Staircases, errors and the plan come from files in the repository."""
    pytest.importorskip("matplotlib")
    _run("plots_profile", PROFILES, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"profile_staircase.png", "profile_errors.png", "profile_plan.png"}
