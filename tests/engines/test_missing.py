"""Importers say what is missing, guessed or left out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemopt.cli import main
from gemopt.engines import open_trace
from gemopt.files.errors import FileError
from tests.engines import dumps
from tests.engines.dumps import torch

SLOTS = np.tile(np.arange(4), (2, 1))


def window(path: Path, counts: np.ndarray, **more: Any) -> None:
    """One rank's vLLM window."""
    np.savez(path, expert_load_window=counts, physical_to_logical_map=SLOTS, **more)


@pytest.mark.parametrize("gone", [[0], [1], [1, 2], [0, 2]])
@pytest.mark.parametrize(
    "name", ["load_rank{}", "rank{}_load", "a.Rank-{}.b", "rank{}"]
)
def test_absent_ranks_of_vllm(tmp_path: Path, gone: list[int], name: str) -> None:
    """A rank below the highest that has no file is named, wherever its name has it."""
    for rank in set(range(4)) - set(gone):
        window(tmp_path / f"{name.format(rank)}.npz", dumps.counts(3, 2, 4, rank))
    words = "1-2" if gone == [1, 2] else ", ".join(map(str, gone))
    with pytest.raises(FileError, match=rf"rank {words} is missing"):
        open_trace("vllm", tmp_path)


def test_names_that_say_how_many_ranks(tmp_path: Path) -> None:
    """``rank1of3`` tells that the highest rank is missing."""
    for rank in range(2):
        window(tmp_path / f"w_rank{rank}_of_3.npz", dumps.counts(3, 2, 4, rank))
    with pytest.raises(FileError, match="rank 2 is missing"):
        open_trace("vllm", tmp_path)


def test_names_without_ranks(tmp_path: Path) -> None:
    """Files without a rank in their names follow in time, which is said."""
    for i in (9, 10):
        counts = dumps.counts(3, 2, 4, i)
        window(tmp_path / f"{i}.npz", counts, expert_load_window_step=0)
    source = open_trace("vllm", tmp_path)
    expected = [dumps.counts(3, 2, 4, i) for i in (9, 10)]
    assert np.array_equal(source.collect().counts, np.concatenate(expected))
    assert any("2 files follow in time" in note for note in source.notes)


def test_windows_of_ranks_with_the_rank_first(tmp_path: Path) -> None:
    """Files are one window when only their ranks differ; 9 comes before 10."""
    counts = {
        (r, t): dumps.counts(3, 2, 4, 10 * r + t) for r in (0, 1) for t in (9, 10)
    }
    for (rank, time), each in counts.items():
        name = f"rank{rank}_t{time}.npz"
        window(tmp_path / name, each, expert_load_window_step=0)
    source = open_trace("vllm", tmp_path)
    expected = [counts[0, t] + counts[1, t] for t in (9, 10)]
    assert np.array_equal(source.collect().counts, np.concatenate(expected))
    assert any("ranks summed: 0-1" in note for note in source.notes)


def test_a_window_that_one_rank_lacks(tmp_path: Path) -> None:
    """A window without one rank's file is refused, or left out on request."""
    whole = dumps.counts(3, 2, 4, 1)
    for name, counts in (
        ("a_rank0", whole), ("a_rank1", whole + 1), ("b_rank0", whole)
    ):  # fmt: skip
        window(tmp_path / f"{name}.npz", counts, expert_load_window_step=0)
    with pytest.raises(FileError, match=r"b_rank0.npz: .*rank 1 has no file"):
        open_trace("vllm", tmp_path).collect()
    source = open_trace("vllm", tmp_path, skip_damaged=True)
    assert np.array_equal(source.collect().counts, 2 * whole + 1)
    assert any("b_rank0.npz" in note for note in source.notes)


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "sglang"])
def test_counts_recorded_once_per_rank(tmp_path: Path, engine: str) -> None:
    """Ranks that all saw the same tokens are counted once, and that is said."""
    counts = dumps.counts(5, 2, 4)
    if engine == "trtllm":
        dumps.statistics(tmp_path, np.stack([counts] * 3), [0, 1])
    for rank in range(3):
        if engine == "vllm":
            window(tmp_path / f"w_rank{rank}.npz", counts, expert_load_window_step=0)
        elif engine == "sglang":
            dumps.passes(tmp_path / f"a_{rank}.pt", 0, rank, counts, SLOTS)
    source = open_trace(engine, tmp_path)
    assert np.array_equal(source.collect().counts, counts)
    assert any("all 3 ranks recorded the same counts" in n for n in source.notes)


@pytest.mark.parametrize("idle", [[3], [0], [5], [1, 3], [2, 3]])
def test_idle_passes_keep_their_place(tmp_path: Path, idle: list[int]) -> None:
    """Unused rows do not move the others where a file says its order."""
    counts = np.zeros((6, 2, 4), int) + np.arange(1, 7)[:, None, None]
    counts[idle] = 0
    expected = [step for step in range(1, 7) if step - 1 not in idle]
    window(tmp_path / "w.npz", counts, expert_load_window_step=0)
    dumps.stat(tmp_path / "d.pt", counts)
    torch.save(torch.tensor(counts.reshape(6, 2, 2, 2)), tmp_path / "load.pt")
    torch.save(torch.tensor(SLOTS.reshape(2, 2, 2)), tmp_path / "map.pt")
    window(tmp_path / "unplaced.npz", counts)
    view = {"map": tmp_path / "map.pt"}
    for engine, name, options, certain in (
        ("vllm", "w.npz", {}, True),
        ("vllm-ascend", "load.pt", view, True),
        ("sglang", "d.pt", {}, False),
        ("vllm", "unplaced.npz", {}, False),
    ):
        source = open_trace(engine, tmp_path / name, **options)
        order = source.collect().counts[:, 0, 0].tolist()
        said = any("order of its steps is a guess" in note for note in source.notes)
        assert order == expected or (not certain and said)
        assert not (certain and said)


@pytest.mark.parametrize("suffix", [".pt", ".json"])
@pytest.mark.parametrize("steps", [False, True])
def test_what_sglang_starts_from(tmp_path: Path, suffix: str, steps: bool) -> None:
    """Totals [layers, experts] and steps are read, from .pt and from .json."""
    counts = dumps.counts(1, 3, 8)
    saved = counts if steps else counts[0]
    path = tmp_path / f"a{suffix}"
    if suffix == ".pt":
        torch.save({"logical_count": torch.tensor(saved)}, path)
    else:
        path.write_text(json.dumps({"logical_count": saved.tolist()}))
    for where in (path, tmp_path):
        source = open_trace("sglang", where)
        assert np.array_equal(source.collect().counts, counts)
        assert any("single step" in note for note in source.notes) != steps


def test_layers_of_zeros_are_named(tmp_path: Path) -> None:
    """Dense layers, which engines fill with zeros, are left out and named."""
    counts = dumps.counts(3, 2, 4)
    counts[:, 0] = 0
    window(tmp_path / "w.npz", counts)
    source = open_trace("vllm", tmp_path / "w.npz", layer_ids=[5, 7])
    assert source.collect().layer_ids.tolist() == [7]
    assert "layers that never route a token, left out: 5" in source.notes


def _damaged(tmp_path: Path, engine: str) -> tuple[Path, dict[str, Any], str]:
    """A folder whose middle file is cut short, and options to read it."""
    folder, options = tmp_path / "in", dict[str, Any]()
    folder.mkdir()
    for i in range(3):
        counts = dumps.counts(3, 2, 4, i)
        if engine == "sglang":
            dumps.stat(folder / f"{i}.pt", counts)
        elif engine == "per_pass":
            dumps.passes(folder / f"r_{i}.0_0.pt", 3 * i, 0, counts, SLOTS)
        elif engine == "vllm":
            window(folder / f"{i}.npz", counts, expert_load_window_step=0)
        elif engine == "vllm-ascend":
            load = torch.tensor(counts.reshape(3, 2, 2, 2))
            torch.save(load, folder / f"{i}.pt")
            torch.save(torch.tensor(SLOTS.reshape(2, 2, 2)), tmp_path / "map.pt")
            options = {"map": tmp_path / "map.pt"}
        else:
            ids = np.argsort(counts, axis=2)[:, :, :2]
            offsets = np.array([0, 3])
            np.savez(folder / f"{i}.npz", expert_ids=ids, request_offsets=offsets)
            options = {"batch": 1, "experts": 4}
    return folder, options, "sglang" if engine == "per_pass" else engine


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize(
    "engine", ["sglang", "per_pass", "vllm", "vllm-ascend", "tokens"]
)
def test_one_damaged_file(
    tmp_path: Path, engine: str, which: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged file ends the import by name, or is named and the rest is kept."""
    folder, options, engine = _damaged(tmp_path, engine)
    kept = len(open_trace(engine, folder, **options).collect().counts)
    bad = sorted(folder.iterdir())[which]
    bad.write_bytes(bad.read_bytes()[:-300])
    output = str(tmp_path / "t.safetensors")
    command = ["import", engine, str(folder), "-o", output]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    assert main(command) == 2
    assert bad.name in capsys.readouterr().err
    assert main([*command, "--skip-damaged"]) == 0
    out = capsys.readouterr().out
    assert f": {kept * 2 // 3} steps" in out
    assert "left out" in out and bad.name in out


def test_all_damaged(tmp_path: Path) -> None:
    """Nothing left is an error that still names the folder and the files."""
    for i in range(2):
        (tmp_path / f"{i}.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(FileError, match=r"1\.pt.*truncated"):
        open_trace("sglang", tmp_path, skip_damaged=True).collect()


def test_damaged_rank_of_passes(tmp_path: Path) -> None:
    """Without any whole dump of a rank no forward pass is whole: refused."""
    for rank in range(2):
        counts = dumps.counts(3, 2, 4, rank)
        dumps.passes(tmp_path / f"r_1.0_{rank}.pt", 0, rank, counts, SLOTS)
    (tmp_path / "r_1.0_1.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(FileError, match="no undamaged dump of rank 1"):
        open_trace("sglang", tmp_path, skip_damaged=True).collect()


def test_sums_of_ranks_beyond_the_limit(tmp_path: Path) -> None:
    """Counts that fit for each rank but not in sum are refused, not wrapped."""
    for rank in range(2):
        counts = np.full((1, 2, 4), 2**29) + rank
        window(tmp_path / f"w_rank{rank}.npz", counts, expert_load_window_step=0)
    output = tmp_path / "t.safetensors"
    assert main(["import", "vllm", str(tmp_path), "-o", str(output)]) == 2
    assert not output.exists()


@pytest.mark.parametrize("engine", ["vllm", "trtllm", "sglang", "vllm-ascend"])
def test_a_silent_recording_is_named(tmp_path: Path, engine: str) -> None:
    """A recording in which nothing ran is an error that names it."""
    silent, options = np.zeros((3, 2, 4), int), dict[str, Any]()
    path = tmp_path / "silent.pt"
    if engine == "trtllm":
        path = dumps.statistics(tmp_path / "silent", silent[None], [0, 1])
    elif engine == "vllm":
        path = tmp_path / "silent.npz"
        window(path, silent)
    elif engine == "sglang":
        dumps.stat(path, silent)
    else:
        torch.save(torch.tensor(silent.reshape(3, 2, 2, 2)), path)
        torch.save(torch.tensor(SLOTS.reshape(2, 2, 2)), tmp_path / "map.pt")
        options = {"map": tmp_path / "map.pt"}
    with pytest.raises(FileError, match=r"silent.* has no step"):
        open_trace(engine, path, **options).collect()
