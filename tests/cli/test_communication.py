"""Compute, communication and their sum in the output of commands."""

import json
from pathlib import Path

import numpy as np
import pytest

import gemopt
from tests.cli.conftest import Cli
from tests.communication.cases import routed


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


def test_generate_and_build_carry_the_groups(cli: Cli, tmp_path: Path) -> None:
    """`generate` draws by the model's groups, `build` puts them into the instance."""
    tokens, out = tmp_path / "t.npz", tmp_path / "i.json"
    sizes = ("--layers", 1, "--steps", 2, "--tokens", 16)
    made = cli("generate", "--model", "DeepSeek-V3", *sizes, "-o", tokens)
    assert made.code == 0, made.err
    (tmp_path / "l.json").write_text(
        '{"kind": "token_curve", "interpolation": "linear",'
        ' "tokens": [0, 1], "latency_us": [9, 10]}'
    )
    built = cli(
        "build", tokens, "--latency", tmp_path / "l.json", "--gpus", 8,
        "--links", "400g-hosts", "--hidden", 7168, "-o", out,
    )  # fmt: skip
    assert built.code == 0, built.err
    instance = gemopt.load(out)
    assert instance.comm is not None
    assert (instance.comm.n_group, instance.comm.topk_group) == (8, 4)
    assert instance.layer_ids.tolist() == [3]
    assert instance.num_steps == 2
