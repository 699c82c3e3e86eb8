"""The runner: resumable, complete lines, equal limits."""

import json
from pathlib import Path

import numpy as np
import pytest

from gemopt import Instance
from gemopt.latency import affine
from gemopt.study.bench import bench, read_runs


def _instances() -> dict[str, Instance]:
    rng = np.random.default_rng(0)
    return {
        name: Instance.from_arrays(rng.poisson(9, (8, 1, 8)), [affine(1, 1)] * 2)
        for name in ("a", "b")
    }


def test_every_combination_runs_once_and_is_kept(tmp_path: Path) -> None:
    """Eight runs; a second call makes none, a third only what is new."""
    path = tmp_path / "runs.jsonl"
    known = _instances()
    assert bench(["linear", "lpt"], known, [0, 1], path, unseen=0.5) == 8
    assert bench(["linear", "lpt"], known, [0, 1], path, unseen=0.5) == 0
    assert bench(["linear", "lpt"], known, [0, 1, 2], path, unseen=0.5) == 4
    runs = read_runs(path)
    assert len({(r["instance"], r["solver"], r["seed"]) for r in runs}) == 12
    for run in runs:
        assert run["bound_us"] <= run["objective_us"]
        assert run["unseen_us"] > 0
        assert run["machine"]["versions"]["numpy"] == np.__version__


def test_half_a_line_is_run_again(tmp_path: Path) -> None:
    """What an interruption cut off is dropped and repeated."""
    path = tmp_path / "runs.jsonl"
    known = _instances()
    bench(["linear"], known, [0], path)
    text = path.read_text()
    path.write_text(text[:-20])
    assert bench(["linear"], known, [0], path) == 1
    assert len(read_runs(path)) == 2


def test_processes_give_the_same_runs(tmp_path: Path) -> None:
    """Two at once find what one after the other finds."""
    costs = []
    for jobs in (1, 2):
        path = tmp_path / f"{jobs}.jsonl"
        bench(["lpt", "random"], _instances(), [3], path, jobs=jobs)
        costs.append([(r["solver"], r["objective_us"]) for r in read_runs(path)])
    assert costs[0] == costs[1]


def test_a_refusal_is_recorded(tmp_path: Path) -> None:
    """A solver that cannot take an instance leaves a run with its reason."""
    counts = np.ones((4000, 1, 256), dtype=np.int64)
    known = {"big": Instance.from_arrays(counts, [affine(1, 1)] * 64)}
    path = tmp_path / "runs.jsonl"
    bench(["cpsat"], known, [0], path)
    assert "coefficients" in read_runs(path)[0]["error"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    """The message names file and line."""
    path = tmp_path / "runs.jsonl"
    path.write_text(json.dumps({"some": "thing"}) + "\n")
    with pytest.raises(ValueError, match="line 1 is no run"):
        bench(["linear"], _instances(), [0], path)
