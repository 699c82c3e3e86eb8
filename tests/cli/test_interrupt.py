"""Ctrl-C for real: a process of its own, and the signal that a terminal sends."""

import json
import math
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import Popen

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.bounds import quick_bound
from gemopt.bounds.stored import verified_bound
from gemopt.files.placement_file import load_placement
from gemopt.latency import affine
from gemopt.study.bench import read_runs

ROOT = Path(__file__).parents[2]


def _hard(path: Path, layers: int = 2) -> Instance:
    """Layers that no solver proves within a minute."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.gamma(1.0, 20.0, (96, layers, 64)))
    models = [affine(1, s) for s in rng.normal(1, 0.1, 8)]
    instance = Instance.from_arrays(counts, models, name="hard")
    gemopt.save(instance, path)
    return instance


def _start(*arguments: object, stderr: int = subprocess.PIPE) -> "Popen[str]":
    return Popen(
        [sys.executable, "-m", "gemopt", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def _wait_for_placement(terminal: int, longer: float) -> None:
    """Read the progress bar until it shows a placement, and so much longer."""
    seen, end = b"", time.monotonic() + 120
    later = math.inf
    while time.monotonic() < min(end, later):
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536)
        if later == math.inf and re.search(rb"best [0-9.e+]+ us", seen):
            later = time.monotonic() + longer
    assert later < math.inf, seen


@pytest.mark.parametrize("solver", ["search", "cpsat", "milp", "exact"])
def test_solve_keeps_what_is_known(tmp_path: Path, solver: str) -> None:
    """Placement, bound and status are written, and the exit code is 130."""
    search = solver == "search"  # it ends by itself; many layers keep it busy
    instance = _hard(tmp_path / "hard.json", layers=48 if search else 2)
    output = tmp_path / "hard.placement.json"
    arguments = ["--time-limit", 600, "--json", "-o", output]
    if search:
        arguments += ["--preset", "best"]
    terminal, theirs = pty.openpty()
    process = _start(
        "solve", tmp_path / "hard.json", "-s", solver, *arguments, stderr=theirs
    )
    _wait_for_placement(terminal, 0.5 if search else 3.0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    os.close(theirs)
    os.close(terminal)
    assert process.returncode == 130
    report = json.loads(out[out.index("{") :])  # HiGHS may print a banner before it
    assert report["stop_reason"] == "interrupted" and report["status"] == "feasible"
    placement = load_placement(output, instance)
    cost = gemopt.evaluate(instance, placement).objective
    assert report["objective_us"] == pytest.approx(cost)
    assert 0 < report["lower_bound_us"] <= cost
    assert cost < gemopt.solve(instance, "linear").objective


def test_bound_keeps_what_is_proven(tmp_path: Path) -> None:
    """The bound reached by then is printed and its file verifies; exit code 130."""
    instance = _hard(tmp_path / "hard.json")
    output = tmp_path / "hard.bound.safetensors"
    arguments = [tmp_path / "hard.json", "--bound", 600, "-o", output, "--json"]
    process = _start("bound", *arguments)
    time.sleep(8)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    proven = json.loads(out)["lower_bound_us"]
    assert verified_bound(output, instance) == pytest.approx(proven)
    assert proven >= quick_bound(instance) > 0


@pytest.mark.slow
def test_bench_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """Runs that were finished before the kill are kept to the byte, none is redone."""
    _hard(tmp_path / "hard.json")
    path = tmp_path / "runs.jsonl"
    gemopt.solve(_hard(tmp_path / "hard.json"), "search", iterations=1)
    arguments = ["bench", tmp_path / "hard.json", "-o", path, "-s", "search"]
    arguments += ["--time-limit", 1, "--seeds", "0-5"]
    process = _start(*arguments)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.read_text().count("\n") >= 2:
            break
        time.sleep(0.05)
    process.kill()
    process.communicate()
    kept = path.read_text()
    kept = kept[: kept.rfind("\n") + 1]
    before = kept.count("\n")
    assert 2 <= before < 6
    again = _start(*arguments, "--json")
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert json.loads(out) == {
        "runs": 6 - before,
        "kept": before,
        "faults": 0,
        "interrupted": False,
        "file": str(path),
    }
    assert path.read_text().startswith(kept)
    assert sorted(run["seed"] for run in read_runs(path)) == list(range(6))
