"""Sweeping the weight of communication."""

import json
from pathlib import Path

import pytest

import gemopt
from gemopt.study.pareto import pareto, weighted
from tests.cli.conftest import Cli
from tests.communication.cases import random_placement, routed


def test_weight_multiplies_the_time_of_communication() -> None:
    """Twice the weight is twice the communication; zero leaves it out."""
    instance = routed(1, node=[0, 0, 1, 1])
    placement = random_placement(instance, 1)
    once = gemopt.evaluate(instance, placement).communication
    twice = gemopt.evaluate(weighted(instance, 2.0), placement).communication
    assert once is not None
    assert twice is not None
    assert twice.per_step == pytest.approx(2 * once.per_step)
    assert weighted(instance, 0.0).comm is None
    with pytest.raises(ValueError, match="has no communication"):
        weighted(weighted(instance, 0.0), 1.0)


def test_efficient_rows_are_not_beaten_in_both() -> None:
    """A row marked efficient has no row that is better in both costs."""
    instance = routed(2, node=[0, 0, 1, 1], steps=8)
    rows = pareto(instance, ["linear", "search"], weights=(0.0, 1.0, 8.0))
    assert {row["solver"] for row in rows} == {"linear", "search"}
    for row in rows:
        better = [
            other
            for other in rows
            if other["straggler_us"] < row["straggler_us"]
            and other["communication_us"] < row["communication_us"]
        ]
        assert row["efficient"] == (not better)


def test_commands(cli: Cli, tmp_path: Path) -> None:
    """`compare --pareto` and `graph` print, draw and write what they say."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "i.json"
    gemopt.save(routed(3, node=[0, 0, 1, 1], steps=8), path)
    run = cli("compare", path, "-s", "linear,cluster", "--pareto", "--json")
    assert len(json.loads(run.out)["rows"]) > 8
    picture = tmp_path / "p.png"
    shown = cli("compare", path, "-s", "linear", "--pareto", "--picture", picture)
    assert "straggler us" in shown.out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert cli("compare", path, "--picture", picture).code == 2
    for kind in ("co-load", "co-activation", "co-activation-next"):
        out = tmp_path / f"{kind}.graphml"
        run = cli("graph", path, "--kind", kind, "--graphml", out, "--min-z", 0.5)
        assert run.code == 0, run.err
        assert "edges" in run.out
        assert out.read_text().startswith("<?xml")
    assert cli("graph", path, "--kind", "odd").code == 2
    assert cli("graph", path, "--layer", 9).code == 2


def test_graph_without_token_ids_says_what_to_do(
    cli: Cli, tmp_path: Path, instance: gemopt.Instance
) -> None:
    """Co-activation of an instance of counts alone is refused with the way out."""
    gemopt.save(instance, tmp_path / "i.json")
    run = cli("graph", tmp_path / "i.json", "--kind", "co-activation")
    assert run.code == 2
    assert "--links" in run.err
