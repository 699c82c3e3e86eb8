"""The commands import and export, and the memory that an import takes."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.cli import main
from gemopt.cli.import_ import parse_layers
from gemopt.engines import import_map, import_trace, source
from gemopt.latency import affine
from tests.engines import dumps


def test_from_dumps_to_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Import, build, solve and export end to end; the map is the placement."""
    counts = dumps.counts(12, 4, 6)
    counts[:, 0] = 0
    dumps.stat(tmp_path / "d.pt", counts)
    trace = tmp_path / "t.trace.safetensors"
    assert main(["import", "sglang", str(tmp_path / "d.pt"), "-o", str(trace)]) == 0
    assert f"{trace}: 12 steps, 3 layers (1..3), 6 experts" in capsys.readouterr().out
    read = gemopt.load_trace(trace)
    instance = gemopt.Instance.from_arrays(
        read.counts, [affine(50, 1.0)] * 2, slots=[4, 4], layer_ids=read.layer_ids
    )
    placement = gemopt.solve(instance, "lpt").placement
    assert placement is not None
    best = tmp_path / "best.placement.json"
    gemopt.save_placement(placement, best, instance)
    for engine, name, *options in (
        ("sglang", "m.json", "--hidden-layers", "5"),
        ("trtllm", "m.yaml", "--extra-layers", "4,8-9"),
        ("vllm", "v.json"),
        ("vllm-ascend", "a.json"),
    ):
        path = tmp_path / name
        arguments = ["export", engine, str(best), "-o", str(path), *options, "--json"]
        assert main(arguments) == 0
        assert json.loads(capsys.readouterr().out)["layers"] == 3
        back = import_map(engine, path, gpus=2, layer_ids=[1, 2, 3])
        assert back.placement == placement


def test_notes_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was left out is said, as text and as JSON."""
    slots = np.array([[0, 1, 0, 1]])
    for rank in (0, 1):
        counts = dumps.counts(3, 1, 4)
        dumps.passes(tmp_path / f"d_{rank}.pt", 5 + rank, rank, counts, slots)
    output = str(tmp_path / "t.safetensors")
    arguments = ["import", "sglang", str(tmp_path), "-o", output]
    assert main(arguments) == 0
    note = "2 forward passes left out: not every rank has them"
    assert note in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert note in report["notes"]
    assert (report["steps"], report["layer_ids"]) == (2, [0])


def test_layers_in_words() -> None:
    """Ranges and lists of layers are understood."""
    assert parse_layers("--layer-ids", "0,3-5") == [0, 3, 4, 5]
    with pytest.raises(ValueError, match=r"--layer-ids = 'x'"):
        parse_layers("--layer-ids", "x")


@pytest.mark.parametrize("mode", ["stat", "per_pass"])
def test_memory_does_not_grow_with_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Twelve files take hardly more memory than one."""
    monkeypatch.setattr(source, "BLOCK_NUMBERS", 2**14)
    slots = np.tile(np.arange(32), (4, 1))
    counts = dumps.counts(200, 4, 32)

    def peak(files: int) -> float:
        folder = tmp_path / f"{files}"
        folder.mkdir()
        for i in range(files):
            name = folder / f"expert_distribution_recorder_{i}.5_0.pt"
            if mode == "stat":
                dumps.stat(name, counts)
            else:
                dumps.passes(name, 200 * i, 0, counts, slots)
        tracemalloc.start()
        import_trace("sglang", folder, tmp_path / "t.safetensors")
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(1)  # modules that are imported once
    assert peak(12) < 1.2 * peak(2)
