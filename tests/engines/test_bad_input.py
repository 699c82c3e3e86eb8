"""Malformed files of every engine: exit code 2, one line, and nothing written."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from gemopt.cli import main
from tests.engines import dumps
from tests.engines.dumps import torch

SLOTS = np.array([[0, 1, 0, 1]])


def refused(
    capsys: pytest.CaptureFixture[str], arguments: list[object], *parts: str
) -> None:
    """Check the exit code, the one line, and what it names."""
    assert main([str(each) for each in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gemopt: ") and err.count("\n") == 1, err
    for part in parts:
        assert part in err, err


def _sglang(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = dumps.stat(folder / "d.pt", dumps.counts(3, 2, 4))
        data = torch.load(path)
        change(data)
        torch.save(data, path)
        return path

    return make


def _passes(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        counts = dumps.counts(3, 1, 4)
        path = dumps.passes(folder / "d_0.pt", 5, 0, counts, SLOTS)
        data = torch.load(path)
        change(data)
        torch.save(data, path)
        return path

    return make


def _raw(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _truncated(folder: Path) -> Path:
    path = dumps.stat(folder / "d.pt", dumps.counts(30, 2, 40))
    path.write_bytes(path.read_bytes()[:-4000])
    return path


def _pickled(folder: Path) -> Path:
    torch.save({"logical_count": Path("x")}, folder / "d.pt")
    return folder / "d.pt"


def _missing_rank(folder: Path) -> Path:
    dumps.passes(folder / "d_1.pt", 5, 1, dumps.counts(3, 1, 4), SLOTS)
    return folder


def _two_runs(folder: Path) -> Path:
    for i in (1, 2):
        path = folder / f"expert_distribution_recorder_{i}.0_0.pt"
        dumps.passes(path, 5, 0, dumps.counts(3, 1, 4), SLOTS)
    return folder


def _mixed(folder: Path) -> Path:
    dumps.stat(folder / "a.pt", dumps.counts(3, 1, 4))
    dumps.passes(folder / "b_0.pt", 5, 0, dumps.counts(3, 1, 4), SLOTS)
    return folder


def _other_shape(folder: Path) -> Path:
    dumps.stat(folder / "a.pt", dumps.counts(3, 1, 4))
    dumps.stat(folder / "b.pt", dumps.counts(3, 1, 5))
    return folder


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda folder: folder / "none", ["none", "No such file"]),
        (lambda folder: folder, ["holds no *.pt"]),
        (_raw("d.pt", b""), ["d.pt", "truncated", "empty"]),
        (_raw("d.pt", b"hello, this is text"), ["d.pt", "cannot be read"]),
        (_raw("d.pt", pickle.dumps({"logical_count": [1]})), ["d.pt"]),
        (_truncated, ["d.pt", "truncated"]),
        (_pickled, ["d.pt", "not unpickled"]),
        (_sglang(lambda d: d.clear()), ["d.pt", "logical_count or records"]),
        (_sglang(lambda d: d.update(rank=3)), ["rank = 3, needs 0"]),
        (
            _sglang(lambda d: d.update(logical_count=torch.zeros(4))),
            ["d.pt: logical_count has shape (4,)"],
        ),
        (
            _sglang(lambda d: d.update(logical_count=-torch.ones(3, 2, 4))),
            ["logical_count[0, 0, 0] = -1 is negative"],
        ),
        (
            _sglang(lambda d: d.update(logical_count=torch.full((1, 2, 4), 0.5))),
            ["logical_count[0, 0, 0] = 0.5 is no whole number"],
        ),
        (
            _sglang(lambda d: d.update(logical_count=torch.zeros(3, 2, 4))),
            ["no step"],
        ),
        (
            _sglang(lambda d: d.update(logical_count=torch.full((1, 1, 4), 2**31))),
            ["sums to 8589934592 assignments"],
        ),
        (_sglang(lambda d: d.update(logical_count="x")), ["d.pt", "logical_count"]),
        (_missing_rank, ["rank 0 is missing"]),
        (_two_runs, ["forward_pass_id = 5 after 7", "folder of its own"]),
        (_mixed, ["b_0.pt", "logical_count is missing"]),
        (_other_shape, ["b.pt", "(1, 5)", "earlier files (1, 4)"]),
        (_passes(lambda d: d.update(records=[])), ["records is empty"]),
        (_passes(lambda d: d.update(records=[3])), ["records[0] is no dictionary"]),
        (_passes(lambda d: d.pop("last_physical_to_logical_map")), ["is missing"]),
        (
            _passes(lambda d: d["last_physical_to_logical_map"].fill_(1)),
            ["expert 0 has no slot in row 0"],
        ),
        (
            _passes(lambda d: d["records"][1].pop("global_physical_count")),
            ["records[1].global_physical_count is missing"],
        ),
        (
            _passes(lambda d: d["records"][1].update(forward_pass_id="x")),
            ["records[1].forward_pass_id = 'x'"],
        ),
        (_passes(lambda d: d["records"][2].update(rank=1)), ["records[2].rank = 1"]),
        (
            _passes(
                lambda d: d["records"][0].update(global_physical_count=torch.ones(2))
            ),
            ["records[0].global_physical_count has shape (2,)"],
        ),
    ],
)
def test_sglang(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    parts: list[str],
) -> None:
    """Every damage to a recorder dump is named with its file and field."""
    folder = tmp_path / "dumps"
    folder.mkdir()
    output = tmp_path / "out.safetensors"
    refused(capsys, ["import", "sglang", make(folder), "-o", output], *parts)
    assert [each.name for each in tmp_path.iterdir()] == ["dumps"]


def _statistics(change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        dumps.statistics(folder, np.stack([dumps.counts(3, 2, 4)] * 2), [3, 5])
        change(folder)
        return folder

    return make


def _rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda f: (f / "meta_info.json").unlink(), ["meta_info.json", "No such"]),
        (lambda f: (f / "meta_info.json").write_text("{"), ["meta_info.json", "JSON"]),
        (
            lambda f: (f / "meta_info.json").write_text('{"num_experts": -1}'),
            ["num_experts = -1"],
        ),
        (
            lambda f: (f / "meta_info.json").write_text('{"num_experts": 5}'),
            ["100_3 has shape (4,)", "needs (5,)"],
        ),
        (
            lambda f: (f / "rank0.safetensors").unlink(),
            ["rank0.safetensors is missing"],
        ),
        (
            lambda f: [(f / f"rank{r}.safetensors").unlink() for r in (0, 1)],
            ["holds no rank0.safetensors"],
        ),
        (
            lambda f: (f / "rank1.safetensors").write_bytes(b"\x08\0\0\0"),
            ["rank1.safetensors", "no safetensors file"],
        ),
        (
            lambda f: _rewrite(f / "rank1.safetensors", lambda t: t.pop("101_5")),
            ["rank1.safetensors: key 101_5 is missing"],
        ),
        (
            lambda f: [
                _rewrite(
                    f / f"rank{r}.safetensors",
                    lambda t: (t.pop("101_5"), t.pop("101_3")),
                )
                for r in (0, 1)
            ],
            ["key 101_3 is missing: a gap"],
        ),
        (
            lambda f: [
                _rewrite(f / f"rank{r}.safetensors", lambda t: t.update(x=np.zeros(4)))
                for r in (0, 1)
            ],
            ["key 'x' is no ITERATION_LAYER"],
        ),
        (
            lambda f: _rewrite(
                f / "rank1.safetensors", lambda t: t["100_3"].__isub__(99)
            ),
            ["rank1.safetensors", "100_3[0, 0, 0]", "negative"],
        ),
    ],
)
def test_trtllm(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], object],
    parts: list[str],
) -> None:
    """Missing ranks, gaps and damaged files of statistics are named."""
    path = _statistics(change)(tmp_path / "stats")
    output = tmp_path / "out.safetensors"
    refused(capsys, ["import", "trtllm", path, "-o", output], *parts)
    assert not output.exists()


def _npz(**arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.savez(folder / "w.npz", **arrays)
        return folder / "w.npz"

    return make


WINDOW = dumps.counts(3, 1, 4)


@pytest.mark.parametrize(
    ("engine", "make", "options", "parts"),
    [
        ("vllm", _npz(x=WINDOW), [], ["expert_load_window is missing", "holds x"]),
        ("vllm", _npz(expert_load_window=WINDOW), [], ["give a file of it with --map"]),
        (
            "vllm",
            _npz(expert_load_window=WINDOW[:, :, :3], physical_to_logical_map=SLOTS),
            [],
            ["(1, 3) layers and slots", "(1, 4)"],
        ),
        (
            "vllm",
            _npz(expert_load_window=WINDOW, physical_to_logical_map=SLOTS - 3),
            [],
            ["physical_to_logical_map[0, 0] = -3"],
        ),
        (
            "vllm",
            _npz(
                expert_load_window=WINDOW,
                physical_to_logical_map=SLOTS,
                expert_load_window_step=7,
            ),
            [],
            ["expert_load_window_step = 7 is outside the window of 3"],
        ),
        (
            "vllm",
            _npz(expert_load_window=WINDOW, physical_to_logical_map=SLOTS),
            ["--layer-ids", "3-5"],
            ["layer_ids has 3 values"],
        ),
        (
            "vllm",
            _npz(expert_load_window=WINDOW, physical_to_logical_map=SLOTS),
            ["--layer-ids", "5-3"],
            ["--layer-ids = '5-3'"],
        ),
        ("vllm", _npz(expert_load_window=np.array([Path()])), [], ["w.npz"]),
        ("vllm", _raw("w.npz", b"PK\x03\x04 no"), [], ["w.npz"]),
        ("vllm", _raw("w.csv", b"1"), [], ["suffix '.csv' is unknown"]),
        ("vllm-ascend", _raw("v.pt", b"x"), [], ["0 expert maps", "--map"]),
        ("tokens", _npz(x=WINDOW), ["--batch", "2"], ["expert_ids is missing"]),
        ("tokens", _npz(expert_ids=WINDOW), [], ["give --batch"]),
        (
            "tokens",
            _npz(expert_ids=WINDOW, request_offsets=np.array([0, 9])),
            ["--batch", "1"],
            ["w.npz", "request_offsets must rise from 0 to the 3 tokens"],
        ),
        (
            "tokens",
            _npz(expert_ids=WINDOW, request_offsets=np.array([0, 3])),
            ["--batch", "2"],
            ["batch = 2 never runs full with 1 requests"],
        ),
        (
            "sglang",
            _npz(x=WINDOW),
            ["--map", "m"],
            ["--map = m is no option of sglang"],
        ),
        ("sglag", _npz(x=WINDOW), [], ["did you mean 'sglang'"]),
    ],
)
def test_other_engines(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    engine: str,
    make: Callable[[Path], Path],
    options: list[str],
    parts: list[str],
) -> None:
    """Every other bad file or option gives one line as well."""
    folder = tmp_path / "in"
    folder.mkdir()
    output = tmp_path / "out.safetensors"
    arguments = ["import", engine, make(folder), "-o", output, *options]
    refused(capsys, arguments, *parts)
    assert not output.exists()


def test_ascend_load_that_does_not_fit_its_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A load view of another shape than the map is named with both shapes."""
    torch.save(torch.ones(1, 2, 3), tmp_path / "view.pt")
    torch.save(torch.tensor([[[0, 1], [1, 0]]]), tmp_path / "map.pt")
    arguments = ["import", "vllm-ascend", tmp_path / "view.pt"]
    arguments += ["--map", tmp_path / "map.pt", "-o", tmp_path / "o.safetensors"]
    refused(capsys, arguments, "view.pt", "(1, 2, 3)", "(1, 2, 2)")


def test_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs with a wrong suffix or in no folder are refused before any work."""
    arguments = ["import", "sglang", tmp_path, "-o"]
    refused(capsys, [*arguments, tmp_path / "o.json"], "must end in .safetensors")
    refused(capsys, [*arguments, tmp_path / "no" / "o.safetensors"], "no")
