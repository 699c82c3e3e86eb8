"""Placements and checkpoints that cannot be mapped give one clear line."""

import json

import numpy as np
import pytest

from gemopt.checkpoint import apply_checkpoint
from gemopt.checkpoint.families import FAMILIES
from gemopt.checkpoint.plan import plan_moves, rows_by_layer
from gemopt.files.errors import FileError
from gemopt.model.placement import Placement
from tests.checkpoint.models import renumbering
from tests.checkpoint.test_apply import INDEX, mixtral, write_checkpoint

MIXTRAL = next(family for family in FAMILIES if family.name == "Mixtral")
HEAD = "model.layers.0.block_sparse_moe"


@pytest.mark.parametrize(
    ("phy2log", "slots", "layer_ids", "message"),
    [
        ([[0, 1, 0, 2]], [2, 2], [0], "layer 0: expert 0 has 2 slots; .*gemopt export"),
        ([[0, 1, 2, 3]], [1, 3], [0], r"slots = \[1, 3\] are unequal.*gemopt export"),
        ([[0, 1, 2, 4]], [2, 2], [0], r"layer 0: 4 is no expert \(0\.\.3\)"),
        ([[0, 1, 2, -1]], [2, 2], [0], "layer 0: -1 is no expert"),
        ([[0, 1, 2, 3]], [2, 2], [0, 1], "layer_ids has 2 values for 1 layers"),
        ([[0, 1], [1, 0]], [1, 1], [3, 3], r"layer_ids = \[3, 3\] must all differ"),
    ],
)
def test_placements_that_are_no_renumbering(phy2log, slots, layer_ids, message):
    """Replicas, unequal slots and wrong ids are refused, with what to use instead."""
    placement = Placement(np.array(phy2log), np.array(slots))
    with pytest.raises(ValueError, match=message):
        rows_by_layer(placement, layer_ids)


def _shapes(**changes):
    shapes = {name: t.shape for name, t in mixtral().items()}
    for name, shape in changes.items():
        key = name.replace("__", ".")
        if shape is None:
            del shapes[f"{HEAD}.{key}"]
        else:
            shapes[f"{HEAD}.{key}"] = shape
    return shapes


@pytest.mark.parametrize(
    ("shapes", "layer", "message"),
    [
        (_shapes(), 2, "layer 2 of the placement has no experts .*experts: 0"),
        (_shapes(gate__weight=(7, 5)), 0, "gate.weight has 7 experts, .* has 8"),
        (_shapes(gate__weight=None), 0, "layer 0 has no gate.weight"),
        (_shapes(gate__scale=(8,)), 0, "gate.scale: no Mixtral tensor .* knows"),
        (_shapes(experts__3__w1__weight=None), 0, "layer 0: expert 3 has no w1"),
        (_shapes(experts__8__w1__weight=(2, 3)), 0, "expert 8 of 8 is not in the"),
        (_shapes(experts__stack=(9, 2)), 0, "experts.stack has 9 experts"),
    ],
)
def test_models_that_do_not_fit(shapes, layer, message):
    """Missing, surplus and unknown tensors are named."""
    with pytest.raises(ValueError, match=message):
        plan_moves(shapes, MIXTRAL, {layer: np.arange(8)})


def test_missing_expert_is_named():
    """An expert without any tensor is named."""
    shapes = {k: v for k, v in _shapes().items() if ".experts.6." not in k}
    with pytest.raises(ValueError, match="layer 0: expert 6 of 8 is missing"):
        plan_moves(shapes, MIXTRAL, {0: np.arange(8)})


def test_scalar_scale_is_for_all_experts():
    """A scale without axes belongs to all experts together and stays."""
    moves = plan_moves(_shapes(experts__scale=()), MIXTRAL, {0: np.arange(8)[::-1]})
    assert moves[f"{HEAD}.experts.scale"].order is None


def test_groups_must_divide_the_experts():
    """An n_group that does not divide the experts is refused."""
    with pytest.raises(ValueError, match="n_group = 3 does not divide 8 experts"):
        plan_moves(_shapes(), MIXTRAL, {0: np.arange(8)}, groups=3)


@pytest.fixture
def source(tmp_path):
    return write_checkpoint(tmp_path / "in", mixtral(), {"model_type": "mixtral"})


def _edit_index(folder, change):
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index))


def _first_shard(folder):
    return min(folder.glob("*.safetensors"))


def _cut(folder):
    shard = _first_shard(folder)
    shard.write_bytes(shard.read_bytes()[:-3])


def _swap_header(old, new):
    def change(folder):
        shard = _first_shard(folder)
        shard.write_bytes(shard.read_bytes().replace(old, new, 1))

    return change


DAMAGE = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        r"config\.json: is missing",
    ),
    "config is a list": (
        lambda f: (f / "config.json").write_text("[]"),
        r"config\.json: holds a list, needs an object",
    ),
    "config cut short": (
        lambda f: (f / "config.json").write_text('{"model_type": '),
        r"config\.json: is not JSON",
    ),
    "unknown model": (
        lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
        r"config\.json: model_type = 'bert' is unknown; known: mixtral, ",
    ),
    "no weights": (
        lambda f: [p.unlink() for p in f.glob("model*")],
        "holds neither model.safetensors.index.json nor model.safetensors",
    ),
    "shard missing": (lambda f: _first_shard(f).unlink(), "shard is missing"),
    "shard cut short": (_cut, "bytes, its header says .*: cut short"),
    "shard empty": (
        lambda f: _first_shard(f).write_bytes(b""),
        "is no safetensors file, or cut short",
    ),
    "shard is text": (
        lambda f: _first_shard(f).write_text("version https://git-lfs, no weights"),
        "is no safetensors file, or cut short",
    ),
    "header is no JSON": (_swap_header(b'{"', b"{{"), "no readable safetensors header"),
    "header lies about a shape": (
        _swap_header(b'"shape":[2,3]', b'"shape":[5,3]'),
        "no readable safetensors header",
    ),
    "index without map": (
        lambda f: _edit_index(f, lambda i: i.pop("weight_map")),
        "weight_map = None must name the tensors",
    ),
    "index leaves a tensor out": (
        lambda f: _edit_index(f, lambda i: i["weight_map"].popitem()),
        "does not name .*, which model-.* holds",
    ),
    "index leads elsewhere": (
        lambda f: _edit_index(f, lambda i: i["weight_map"].update(x="../y")),
        r"weight_map\['x'\] = '\.\./y' must be a file name",
    ),
    "index names what is not there": (
        lambda f: _edit_index(
            f, lambda i: i["weight_map"].update(x=_first_shard(f).name)
        ),
        "names x in model-.*, which does not hold it",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_malformed_checkpoints(source, tmp_path, damage):
    """Every kind of damage is one line that names the file; nothing is written."""
    harm, message = DAMAGE[damage]
    harm(source)
    with pytest.raises(FileError, match=message) as error:
        apply_checkpoint(source, renumbering(1), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_missing_folder(tmp_path):
    """A checkpoint that is not there is named."""
    with pytest.raises(FileError, match="nowhere: is no folder"):
        apply_checkpoint(tmp_path / "nowhere", renumbering(1), tmp_path / "out")
