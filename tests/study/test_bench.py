"""The runner: resumable, complete lines, equal limits."""

import json
from pathlib import Path
from typing import Any

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


def test_an_interrupted_run_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second run leaves the first; the next call makes the others."""
    from gemopt_solvers.lpt import Lpt

    solve = Lpt.solve

    def pressed(self: Lpt, instance: Instance, **options: Any) -> Any:
        if instance.num_steps > 2:  # not the warm-up
            raise KeyboardInterrupt
        return solve(self, instance, **options)

    path = tmp_path / "runs.jsonl"
    with monkeypatch.context() as patch:
        patch.setattr(Lpt, "solve", pressed)
        with pytest.raises(KeyboardInterrupt):
            bench(["linear", "lpt"], _instances(), [0], path)
    assert [run["solver"] for run in read_runs(path)] == ["linear"]
    assert bench(["linear", "lpt"], _instances(), [0], path) == 3
    reasons = {run["stop_reason"] for run in read_runs(path)}
    assert len(read_runs(path)) == 4 and "interrupted" not in reasons


def test_a_faulty_solver_is_a_row_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception is recorded, the others run, and a later call repeats it."""
    from gemopt_solvers.lpt import Lpt

    def broken(self: Lpt, instance: Instance, **options: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    path = tmp_path / "runs.jsonl"
    known = {"a": _instances()["a"]}
    with monkeypatch.context() as patch:
        patch.setattr(Lpt, "solve", broken)
        assert bench(["lpt", "linear"], known, [0], path) == 2
    faulty, fine = read_runs(path)
    assert faulty["error"] == "ZeroDivisionError: division by zero" and faulty["fault"]
    assert fine["objective_us"] > 0
    assert bench(["lpt", "linear"], known, [0], path) == 1
    runs = read_runs(path)
    assert len(runs) == 2 and all(run["objective_us"] > 0 for run in runs)


def test_another_instance_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    """A run is kept only for the very instance that it was made on."""
    path = tmp_path / "runs.jsonl"
    known = _instances()
    assert bench(["linear"], {"x": known["a"]}, [0], path) == 1
    assert bench(["linear"], {"x": known["b"]}, [0], path) == 1
    assert bench(["linear"], {"x": known["a"]}, [0], path) == 0


def test_options_are_part_of_a_run(tmp_path: Path) -> None:
    """The same solver with other options runs again and says which they were."""
    path = tmp_path / "runs.jsonl"
    known = {"a": _instances()["a"]}
    bench(["random"], known, [0], path, params={"random": {"draws": 3}})
    assert bench(["random"], known, [0], path, params={"random": {"draws": 5}}) == 1
    assert bench(["random"], known, [0], path, params={"random": {"draws": 3}}) == 0
    assert [run["params"] for run in read_runs(path)] == [{"draws": 3}, {"draws": 5}]


def test_the_clock_starts_after_a_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every timed run follows one on a sliver, with the same options."""
    from gemopt_solvers.random import Random

    solve, seen = Random.solve, []

    def noted(self: Random, instance: Instance, **options: Any) -> Any:
        seen.append((instance.num_steps, self.params.draws))
        return solve(self, instance, **options)

    monkeypatch.setattr(Random, "solve", noted)
    params = {"random": {"draws": 4}}
    bench(
        ["random"], {"a": _instances()["a"]}, [0], tmp_path / "r.jsonl", params=params
    )
    assert seen == [(2, 4), (8, 4)]
