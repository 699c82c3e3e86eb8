"""Compute, communication and their sum in the output of commands."""

import json
from pathlib import Path

import numpy as np
import pytest

import gemopt
from tests.cli.conftest import Cli
from tests.comm.cases import routed


def test_compare_splits_unseen_time(cli: Cli, tmp_path: Path) -> None:
    """Without overlap straggler and communication add up to the unseen time."""
    gemopt.save(routed(3, node=[0, 0, 1, 1], steps=8), tmp_path / "i.json")
    run = cli("compare", tmp_path / "i.json", "-s", "linear,lpt", "--json")
    for row in json.loads(run.out)["rows"]:
        parts = row["unseen_straggler_us"] + row["unseen_communication_us"]
        assert row["unseen_communication_us"] > 0
        assert row["unseen_us"] == pytest.approx(parts)
    shown = cli("compare", tmp_path / "i.json", "-s", "linear,milp")
    assert "straggler us  communication us" in shown.out
    assert "milp" in shown.out


def test_compare_without_communication_has_no_such_columns(
    cli: Cli, path: Path
) -> None:
    """Tables of instances without communication stay as they were."""
    shown = cli("compare", path, "-s", "linear")
    assert "communication" not in shown.out


def test_check_splits_the_cost(cli: Cli, tmp_path: Path) -> None:
    """`check` says what the straggler and the all-to-all cost."""
    instance = routed(4, steps=6)
    gemopt.save(instance, tmp_path / "i.json")
    out = tmp_path / "a.placement.json"
    assert cli("solve", tmp_path / "i.json", "-s", "linear", "-o", out).code == 0
    found = json.loads(cli("check", tmp_path / "i.json", out, "--json").out)
    cost = gemopt.evaluate(instance, gemopt.load_placement(out, instance))
    assert cost.communication is not None
    assert found["straggler_us"] == pytest.approx(cost.per_step.sum())
    paid = np.sum(cost.communication.per_step)
    assert found["communication_us"] == pytest.approx(paid)
    assert "communication" in cli("check", tmp_path / "i.json", out).out
