"""`gemopt build --links` with a file of measured links."""

from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.files.links_file import MeasuredLinks, save_links
from gemopt.model.topology import Link, Topology
from tests.cli.conftest import Cli


@pytest.fixture
def build(tmp_path: Path) -> tuple[object, ...]:
    """A `build` command for four GPUs, all but its links."""
    order = np.random.default_rng(0).random((200, 2, 8)).argsort(axis=2)
    np.savez(
        tmp_path / "t.npz",
        expert_ids=order[:, :, :2].astype(np.uint8),
        request_offsets=np.arange(0, 201, 20),
    )
    (tmp_path / "l.json").write_text(
        '{"kind": "token_curve", "interpolation": "linear",'
        ' "tokens": [0, 1], "latency_us": [9, 10]}'
    )
    latency = ("--latency", tmp_path / "l.json", "--gpus", 4, "--batch", 4)
    out = ("-o", tmp_path / "i.json", "--hidden", 64)
    return ("build", tmp_path / "t.npz", *latency, *out)


def test_measured_links_reach_the_instance(
    cli: Cli, tmp_path: Path, build: tuple[object, ...]
) -> None:
    """The instance holds the topology of the file."""
    file = tmp_path / "box.links.json"
    near, far = Link(7.5, 310.0), Link(21.0, 44.0)
    save_links(MeasuredLinks("box", near, far, hierarchical=True), file)
    assert cli(*build, "--links", file, "--node", "0,0,1,1").code == 0
    instance = gemopt.load(tmp_path / "i.json")
    assert instance.comm is not None
    assert instance.comm.topology == Topology(near, far, hierarchical=True)


def test_links_of_one_host_are_refused_for_two(
    cli: Cli, tmp_path: Path, build: tuple[object, ...]
) -> None:
    """One line names the file, what it lacks and what to do."""
    file = tmp_path / "box.links.json"
    save_links(MeasuredLinks("box", Link(7.5, 310.0)), file)
    assert cli(*build, "--links", file).code == 0
    run = cli(*build, "--links", file, "--node", "0,0,1,1")
    assert run.code == 2
    assert str(file) in run.err
    assert "measure between hosts" in run.err


def test_a_missing_file_of_links_is_named(
    cli: Cli, tmp_path: Path, build: tuple[object, ...]
) -> None:
    """A name that ends in .json is a file, and one that is not there is said so."""
    run = cli(*build, "--links", tmp_path / "none.json")
    assert run.code == 2
    assert "none.json" in run.err
