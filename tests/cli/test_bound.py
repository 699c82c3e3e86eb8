"""`gemopt bound`, and the bounds that `solve` and `compare` print."""

import json
from pathlib import Path

import pytest

from gemopt import Instance
from gemopt.bounds import lower_bound
from gemopt.bounds.stored import verified_bound
from tests.cli.conftest import Cli


def test_bound_writes_what_check_verifies(
    cli: Cli, path: Path, tmp_path: Path, instance: Instance
) -> None:
    """The file proves the printed bound, and `check --proof` says so too."""
    placement, file = tmp_path / "a.placement.json", tmp_path / "a.bound.safetensors"
    cli("solve", path, "-s", "gem", "-o", placement)
    run = cli("bound", path, placement, "--bound", 0.3, "-o", file, "--json")
    report = json.loads(run.out)
    assert run.code == 0
    value = verified_bound(file, instance)
    assert report["lower_bound_us"] == pytest.approx(value, rel=1e-12)
    assert sum(report["per_layer_us"]) == pytest.approx(value)
    assert 0 <= report["gap"] == pytest.approx(1 - value / report["objective_us"])
    checked = cli("check", path, placement, "--proof", file, "--json").out
    assert json.loads(checked)["verified_bound_us"] == value


def test_more_effort_proves_more(cli: Cli, path: Path) -> None:
    """Co-location raises the bound of an instance with copies above water-filling."""
    none, strong = (
        json.loads(cli("bound", path, "--bound", effort, "--json").out)
        for effort in ("none", 0.5)
    )
    assert set(none["kind"]) == {"water filling"} and none["gap"] is None
    assert strong["lower_bound_us"] > none["lower_bound_us"]


def test_bound_in_words(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Without --json it says what is proven, by which bound, and what the gap is."""
    placement = tmp_path / "a.placement.json"
    cli("solve", path, "-s", "lpt", "-o", placement)
    lines = cli("bound", path, placement, "--bound", "none").out.splitlines()
    assert lines[0].startswith("small: every placement costs at least ")
    assert lines[1] == "layers by bound: water filling: 2"
    assert lines[2].startswith("this one costs ") and lines[2].endswith(" %")
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("bound", ["--bound", "weak"]),
        ("bound", ["--bound", "-1"]),
        ("bound", ["--time-limit", "0"]),
        ("solve", ["--bound", "weak"]),
        ("compare", ["--bound", "nan"]),
    ],
)
def test_bad_effort_is_refused(
    cli: Cli, path: Path, command: str, wrong: list[str]
) -> None:
    """One line that holds the offending value, exit code 2."""
    run = cli(command, path, *wrong)
    assert run.code == 2 and run.out == ""
    assert run.err.count("\n") == 1 and wrong[1] in run.err


def test_solve_and_compare_take_the_effort(cli: Cli, path: Path) -> None:
    """With --bound they prove more than water-filling, and print a smaller gap."""
    commands = [["solve", path, "-s", "gem"], ["compare", path, "-s", "gem,lpt"]]
    for command in commands:
        weak, strong = (
            json.loads(cli(*command, "--json", "--bound", effort).out)
            for effort in ("none", 0.5)
        )
        if command[0] == "compare":
            weak, strong = weak["rows"][0], strong["rows"][0]
        assert weak["lower_bound_us"] < strong["lower_bound_us"]
        assert strong["gap"] < weak["gap"]


def test_ctrl_c_during_the_bound_keeps_the_rows(
    cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compare` prints what its solvers found, with the bound that they proved."""

    def impatient(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gemopt.study.compare.lower_bound", impatient)
    run = cli("compare", path, "-s", "lpt,linear", "--json")
    rows = json.loads(run.out)["rows"]
    assert [row["solver"] for row in rows] == ["lpt", "linear"]
    assert all(0 < row["lower_bound_us"] <= row["seen_us"] for row in rows)


def test_quick_is_what_solve_proves_unasked(
    cli: Cli, path: Path, instance: Instance
) -> None:
    """`solve` prints at least the bound of effort quick."""
    solved = json.loads(cli("solve", path, "-s", "lpt", "--json").out)
    assert solved["lower_bound_us"] >= lower_bound(instance, "quick").value * (1 - 1e-9)
