"""Checkpoints renumbered as files: bytes, scales, resuming, refusals."""

import json
import shutil
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gemopt.checkpoint import apply as apply_module
from gemopt.checkpoint import apply_checkpoint
from gemopt.checkpoint.journal import JOURNAL
from gemopt.checkpoint.shards import read_shard
from gemopt.files.errors import FileError
from gemopt.model.placement import Placement
from tests.checkpoint.models import renumbering

INDEX = "model.safetensors.index.json"


def write_checkpoint(folder, tensors, config, shards=3, save=save_file):
    """Deal `tensors` out over `shards` files with an index."""
    folder.mkdir(parents=True)
    names = sorted(tensors)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        own = names[i::shards]
        save({name: tensors[name] for name in own}, folder / file, {"format": "pt"})
        weight_map.update(dict.fromkeys(own, file))
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def mixtral(experts=8, layers=1, seed=0):
    """Tensors named as in Mixtral checkpoints, filled with random numbers."""
    rng = np.random.default_rng(seed)
    tensors = {"model.embed_tokens.weight": rng.random((3, 2), np.float32)}
    for layer in range(layers):
        head = f"model.layers.{layer}.block_sparse_moe"
        tensors[f"{head}.gate.weight"] = rng.random((experts, 5), np.float32)
        for e in range(experts):
            for w in ("w1", "w2", "w3"):
                tensors[f"{head}.experts.{e}.{w}.weight"] = rng.random((2, 3))
    return tensors


def loaded(folder):
    """All tensors of a checkpoint as the safetensors library reads them."""
    names = json.loads((folder / INDEX).read_text())["weight_map"]
    found = {}
    for file in set(names.values()):
        found.update(load_file(folder / file))
    assert set(found) == set(names)
    return found


@pytest.fixture
def source(tmp_path):
    return write_checkpoint(tmp_path / "in", mixtral(), {"model_type": "mixtral"})


@given(permutation=st.permutations(range(8)), shards=st.integers(1, 4))
def test_inverse_restores_every_tensor(tmp_path_factory, permutation, shards):
    """A renumbering and then its inverse give the tensors back, name by name."""
    folder = tmp_path_factory.mktemp("round")
    tensors = mixtral()
    config = {"model_type": "mixtral"}
    start = write_checkpoint(folder / "in", tensors, config, shards)
    row = np.array(permutation)
    there = Placement(row[None], np.array([4, 4]))
    back = Placement(np.argsort(row)[None], np.array([2, 2, 2, 2]))
    apply_checkpoint(start, there, folder / "there")
    apply_checkpoint(folder / "there", back, folder / "back")
    middle, end = loaded(folder / "there"), loaded(folder / "back")
    head = "model.layers.0.block_sparse_moe"
    for new, old in enumerate(permutation):
        for w in ("w1", "w2", "w3"):
            expected = tensors[f"{head}.experts.{old}.{w}.weight"]
            got = middle[f"{head}.experts.{new}.{w}.weight"]
            np.testing.assert_array_equal(got, expected)
    router = tensors[f"{head}.gate.weight"]
    np.testing.assert_array_equal(middle[f"{head}.gate.weight"], router[row])
    assert end.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(end[name], tensor)


def test_fp8_weights_keep_their_scales(tmp_path):
    """DeepSeek-V3's fp8 matrices and their inverse scales move together, unchanged."""
    torch = pytest.importorskip("torch")
    torch_files = pytest.importorskip("safetensors.torch")
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    head = "model.layers.3.mlp"
    for e in range(4):
        name = f"{head}.experts.{e}.gate_proj.weight"
        data = torch.randn((4, 4), generator=generator)
        tensors[name] = data.to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = torch.randn((1, 1), generator=generator)
    tensors[f"{head}.gate.weight"] = torch.randn((4, 6)).bfloat16()
    tensors[f"{head}.gate.e_score_correction_bias"] = torch.randn(4)
    tensors[f"{head}.shared_experts.up_proj.weight"] = torch.randn(4, 4)
    tensors["model.layers.0.mlp.gate_proj.weight"] = torch.randn(2, 2)
    config = {"model_type": "deepseek_v3", "n_group": 2, "topk_group": 1}
    save = torch_files.save_file
    source = write_checkpoint(tmp_path / "in", tensors, config, save=save)
    row = [3, 2, 0, 1]
    placement = Placement(np.array([row]), np.array([2, 2]))
    done = apply_checkpoint(source, placement, tmp_path / "out", layer_ids=[3])
    assert (done.family, done.experts, done.moved) == ("DeepSeek-V3", 4, 4)
    found = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        found.update(torch_files.load_file(file))
    assert found.keys() == tensors.keys()
    for new, old in enumerate(row):
        for suffix in ("", "_scale_inv"):
            got = found[f"{head}.experts.{new}.gate_proj.weight{suffix}"]
            want = tensors[f"{head}.experts.{old}.gate_proj.weight{suffix}"]
            assert got.dtype == want.dtype
            assert got.view(torch.uint8).equal(want.view(torch.uint8))
    for name in ("gate.weight", "gate.e_score_correction_bias"):
        assert found[f"{head}.{name}"].equal(tensors[f"{head}.{name}"][row])


def test_mxfp4_blocks_and_scales_move_together(tmp_path):
    """gpt-oss's packed 4-bit blocks, scales and biases are reordered by expert."""
    rng = np.random.default_rng(1)
    head = "model.layers.0.mlp"
    tensors = {
        f"{head}.experts.gate_up_proj_blocks": rng.integers(0, 256, (8, 4, 2, 16)),
        f"{head}.experts.gate_up_proj_scales": rng.integers(0, 256, (8, 4, 2)),
        f"{head}.experts.gate_up_proj_bias": rng.integers(0, 256, (8, 4)),
        f"{head}.router.weight": rng.integers(0, 256, (8, 3)),
        f"{head}.router.bias": rng.integers(0, 256, (8,)),
    }
    tensors = {name: t.astype(np.uint8) for name, t in tensors.items()}
    source = write_checkpoint(tmp_path / "in", tensors, {"model_type": "gpt_oss"})
    placement = renumbering(1)
    apply_checkpoint(source, placement, tmp_path / "out")
    found = loaded(tmp_path / "out")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor[placement.phy2log[0]])


def test_layers_without_a_row_stay(tmp_path):
    """Layers that the placement does not name are copied and reported."""
    tensors = mixtral(layers=3)
    source = write_checkpoint(tmp_path / "in", tensors, {"model_type": "mixtral"})
    done = apply_checkpoint(source, renumbering(1), tmp_path / "out", layer_ids=[1])
    assert done.layer_ids == (1,) and done.unmapped == (0, 2)
    found = loaded(tmp_path / "out")
    for name, tensor in tensors.items():
        same = np.array_equal(found[name], tensor)
        assert same or ".layers.1." in name


def test_record_names_every_expert(source, tmp_path):
    """The record beside the weights holds the map and one checksum per expert."""
    placement = renumbering(1)
    apply_checkpoint(source, placement, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "gemopt-apply.json").read_text())
    assert record["phy2log"] == placement.phy2log.tolist()
    identity = Placement(np.arange(8)[None], np.array([4, 4]))
    apply_checkpoint(source, identity, tmp_path / "same")
    plain = json.loads((tmp_path / "same" / "gemopt-apply.json").read_text())
    expected = [plain["experts"][0][old] for old in placement.phy2log[0]]
    assert record["experts"][0] == expected and len(set(expected)) == 8
    assert not (tmp_path / "out" / JOURNAL).exists()


def test_names_of_experts_in_the_configuration_follow(tmp_path):
    """Modules that config.json leaves unquantised keep meaning the same expert."""
    head = "model.layers.0.block_sparse_moe"
    ignored = [f"{head}.experts.5.w1", "lm_head"]
    config = {
        "model_type": "mixtral",
        "quantization_config": {"ignore": ignored, "bits": {ignored[0]: 8}},
    }
    source = write_checkpoint(tmp_path / "in", mixtral(), config)
    (source / "tokenizer.json").write_text("{}")
    (source / "pytorch_model.bin").write_bytes(b"unmapped")
    placement = renumbering(1)
    apply_checkpoint(source, placement, tmp_path / "out")
    new = placement.phy2log[0].tolist().index(5)
    renamed = json.loads((tmp_path / "out" / "config.json").read_text())
    expected = f"{head}.experts.{new}.w1"
    assert renamed["quantization_config"]["ignore"] == [expected, "lm_head"]
    assert renamed["quantization_config"]["bits"] == {expected: 8}
    assert (tmp_path / "out" / "tokenizer.json").exists()
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()


def test_single_file_checkpoint(tmp_path):
    """A checkpoint of one file without an index is mapped too."""
    folder = tmp_path / "in"
    folder.mkdir()
    save_file(mixtral(), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "mixtral"}')
    done = apply_checkpoint(folder, renumbering(1), tmp_path / "out")
    assert done.shards == 1 and not (tmp_path / "out" / INDEX).exists()
    with safe_open(tmp_path / "out" / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(mixtral())


@pytest.mark.parametrize("stop_after", [1, 2])
@pytest.mark.parametrize("torn", [False, True])
def test_resumes_where_it_stopped(source, tmp_path, monkeypatch, stop_after, torn):
    """A run that was cut off goes on, and the result is that of an uncut one."""
    out, placement = tmp_path / "out", renumbering(1)

    def interrupt(done, total):
        if done == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_checkpoint(source, placement, out, on_shard=interrupt)
    if torn:
        lines = (out / JOURNAL).read_text()
        (out / JOURNAL).write_text(lines[:-20])
    written = []
    write = apply_module.write_shard

    def counted(shard, moves, target):
        written.append(target.name)
        return write(shard, moves, target)

    monkeypatch.setattr(apply_module, "write_shard", counted)
    done = apply_checkpoint(source, placement, out)
    assert done.resumed == stop_after - torn == 3 - len(written)
    apply_checkpoint(source, placement, tmp_path / "uncut")
    files = sorted(p.name for p in (tmp_path / "uncut").iterdir())
    assert sorted(p.name for p in out.iterdir()) == files
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "uncut" / name).read_bytes()


def test_does_not_resume_for_another_placement(source, tmp_path):
    """An unfinished output of another placement is refused, not mixed."""

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_checkpoint(source, renumbering(1), tmp_path / "out", on_shard=interrupt)
    with pytest.raises(ValueError, match="unfinished copy"):
        apply_checkpoint(source, renumbering(1, seed=9), tmp_path / "out")


def test_a_wrong_byte_is_found(source, tmp_path, monkeypatch):
    """Verification reads back what was written and names the tensor that differs."""
    write = apply_module.write_shard

    def damaged(shard, moves, target):
        sums = write(shard, moves, target)
        data = bytearray(target.read_bytes())
        data[-1] ^= 1
        target.write_bytes(data)
        return sums

    monkeypatch.setattr(apply_module, "write_shard", damaged)
    with pytest.raises(FileError, match="was not written as it was read"):
        apply_checkpoint(source, renumbering(1), tmp_path / "out")


def test_a_wrong_plan_is_found(source, tmp_path, monkeypatch):
    """Checksums by expert catch moves that do not follow the placement."""
    plan = apply_module.plan_moves

    def other(shapes, family, rows, groups):
        wrong = {layer: np.roll(row, 1) for layer, row in rows.items()}
        return plan(shapes, family, wrong, groups)

    monkeypatch.setattr(apply_module, "plan_moves", other)
    with pytest.raises(FileError, match="expert 0 is not the source's expert"):
        apply_checkpoint(source, renumbering(1), tmp_path / "out")


def test_memory_stays_below_a_shard(tmp_path):
    """A shard much larger than the copy buffer is never held in memory."""
    rng = np.random.default_rng(0)
    head = "model.layers.0.mlp"
    tensors = {
        f"{head}.experts.gate_up_proj": rng.integers(0, 256, (8, 2**23), np.uint8),
        f"{head}.router.weight": rng.random((8, 4)),
    }
    source = write_checkpoint(tmp_path / "in", tensors, {"model_type": "gpt_oss"}, 1)
    del tensors
    tracemalloc.start()
    apply_checkpoint(source, renumbering(1), tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        peak
        < 40 * 2**20
        < read_shard(source / "model-00001-of-00001.safetensors").path.stat().st_size
    )


def test_full_disk_is_noticed_before_writing(source, tmp_path, monkeypatch):
    """Too little space is one clear error, before any weights are written."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs 0.0 GiB, 0.0 GiB are free"):
        apply_checkpoint(source, renumbering(1), tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda out: out.write_text("x"), "is a file; give a folder"),
        (lambda out: (out.mkdir(), (out / "x").touch()), "is not empty"),
    ],
)
def test_output_that_is_something_else(source, tmp_path, make, message):
    """Existing files are never overwritten."""
    make(tmp_path / "out")
    with pytest.raises(ValueError, match=message):
        apply_checkpoint(source, renumbering(1), tmp_path / "out")
    with pytest.raises(ValueError, match="is the checkpoint itself"):
        apply_checkpoint(source, renumbering(1), source)
