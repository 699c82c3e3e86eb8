"""``gemopt apply`` from the command line."""

import json
import re

import numpy as np
import pytest

from gemopt.checkpoint import logits as logits_module
from gemopt.cli.app import run
from gemopt.files.placement_file import save_placement
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.checkpoint.models import build, renumbering, save
from tests.checkpoint.test_apply import mixtral, write_checkpoint


def placement_file(folder, placement, layer_ids):
    """Save `placement` with an instance that it answers."""
    layers = placement.num_layers
    instance = Instance.from_arrays(
        np.ones((1, layers, int(placement.phy2log.max()) + 1), dtype=np.int64),
        [affine(1.0, 1.0)] * placement.num_gpus,
        slots=placement.slots,
        layer_ids=layer_ids,
    )
    path = folder / "p.placement.json"
    save_placement(placement, path, instance)
    return path


@pytest.fixture
def source(tmp_path):
    tensors = mixtral(layers=2)
    return write_checkpoint(tmp_path / "in", tensors, {"model_type": "mixtral"})


def test_applies_a_placement_file(source, tmp_path, capsys):
    """Layer ids of the file choose the layers; the report says what was done."""
    path = placement_file(tmp_path, renumbering(1), [1])
    code = run(["apply", str(source), str(path), "-o", str(tmp_path / "out"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert code == 0 and report["layer_ids"] == [1] and report["unmapped"] == [0]
    assert report["family"] == "Mixtral" and "logits" not in report
    record = json.loads((tmp_path / "out" / "gemopt-apply.json").read_text())
    assert record["layer_ids"] == [1]


def test_report_for_people(source, tmp_path, capsys):
    """Layers that stay are named."""
    path = placement_file(tmp_path, renumbering(1), [1])
    assert run(["apply", str(source), str(path), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "experts of 1 layers have a new number; 3 files" in out
    assert "stay as they are: 0" in out


def test_verify_compares_logits(tmp_path, capsys, monkeypatch):
    """``--verify`` reports the difference, and exits with 1 where there is one."""
    source = save(build("OLMoE"), tmp_path / "in")
    path = placement_file(tmp_path, renumbering(3), [0, 1, 2])
    command = ["apply", str(source), str(path), "--verify", "--json", "-o"]
    assert run([*command, str(tmp_path / "out")]) == 0
    logits = json.loads(capsys.readouterr().out)["logits"]
    assert logits["same"] and logits["largest_logit"] > 0
    monkeypatch.setattr(logits_module, "TOLERANCE", -1.0)
    assert run([*command, str(tmp_path / "again")]) == 1
    assert not json.loads(capsys.readouterr().out)["logits"]["same"]


@pytest.mark.parametrize(
    ("row", "slots", "message"),
    [
        ([*range(8), 0, 1], [5, 5], "expert 0 has 2 slots; .*gemopt export"),
        (list(range(8)), [3, 5], "are unequal"),
        ([0, 1, 2, 3], [2, 2], "has 8 experts, the placement has 4"),
    ],
)
def test_refusals_are_one_line(source, tmp_path, capsys, row, slots, message):
    """Exit 2, one line on stderr, nothing written."""
    placement = Placement(np.array([row]), np.array(slots))
    path = placement_file(tmp_path, placement, [0])
    assert run(["apply", str(source), str(path), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not (tmp_path / "out").exists()
