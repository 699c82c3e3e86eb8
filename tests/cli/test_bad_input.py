"""Every bad input ends with exit code 2, one line, and nothing half-written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gemopt
from tests.cli.conftest import Cli, Edit, Run

ROOT = Path(__file__).parents[2]


def refused(run: Run, *parts: str) -> None:
    """Check the exit code, the one line, and what the line names."""
    assert run.code == 2, run
    assert run.err.startswith("gemopt: ")
    assert run.err.count("\n") == 1, run.err
    for part in parts:
        assert part in run.err, run.err


def _set(*keys: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty"),
        (b"not json", "is not JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"[1, 2]", "JSON object"),
        (b'{"format": "gemopt-instance", "vers', "truncated"),
    ],
)
def test_file_is_no_instance(cli: Cli, path: Path, data: bytes, problem: str) -> None:
    """Empty, truncated and non-JSON files are named with what is wrong."""
    path.write_bytes(data)
    refused(cli("solve", path), str(path), problem)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (_set("format", value="other"), ["format", "'other'"]),
        (_set("version", value=99), ["version is 99", "upgrade"]),
        (_set("trace", "counts", 0, 0, 0, value=-3), ["counts[0, 0, 0] = -3"]),
        (_set("trace", "counts", 0, 0, 0, value=1.5), ["counts[0, 0, 0] = 1.5"]),
        (_set("trace", "counts", 0, 0, 0, value=float("nan")), ["counts", "nan"]),
        (_set("trace", "counts", 0, 0, 0, value=2**61), ["counts[0, 0]"]),
        (_set("trace", "counts", value=[]), ["counts"]),
        (_set("trace", "counts", value=[[]] * 12), ["counts"]),
        (_set("trace", "counts", value=[[[], []]] * 12), ["counts", "zero experts"]),
        (_set("gpus", 0, "slots", value=1), ["slots sums to 5, fewer than 6"]),
        (_set("gpus", value=[]), ["latency is empty"]),
        (_set("gpus", 0, "latency", "tokens", value=[]), ["gpus[0].latency"]),
        (_set("gpus", 0, "latency", "kind", value="magic"), ["kind", "'magic'"]),
        (_set("surprise", value=1), ["surprise"]),
        (_set("experts", value=7), ["experts = 7", "6"]),
    ],
)
def test_field_of_an_instance(
    cli: Cli, edited: Edit, change: Callable[[dict[str, Any]], None], parts: list[str]
) -> None:
    """A wrong field is named with its value."""
    path = edited(change)
    refused(cli("solve", path), str(path), *parts)


@pytest.mark.parametrize(
    ("tokens", "latency", "problem"),
    [
        ([], [], "empty"),
        ([2, 1], [5, 6], "sort"),
        ([1, 2], [5, float("nan")], "nan"),
        ([1, 2], [5, -6], "-6"),
        ([1, 2], [0, 0], "zero latency everywhere"),
    ],
)
def test_latency_model(
    cli: Cli, edited: Edit, tokens: list[int], latency: list[float], problem: str
) -> None:
    """A latency curve without sense is refused with the GPU and the value."""
    model = {"kind": "token_curve", "interpolation": "step", "tokens": tokens}
    path = edited(_set("gpus", 1, "latency", value={**model, "latency_us": latency}))
    refused(cli("solve", path), str(path), "gpus[1].latency", problem)


def test_gpu_without_latency(cli: Cli, edited: Edit) -> None:
    """A GPU that lacks its latency model is named."""
    path = edited(lambda document: document["gpus"][1].pop("latency"))
    refused(cli("solve", path), str(path), "gpus[1].latency is missing")


@pytest.mark.parametrize("models", [0, 1, 3])
def test_number_of_latency_models(
    cli: Cli, tmp_path: Path, instance: gemopt.Instance, models: int
) -> None:
    """A list of latency models must hold one per GPU."""
    trace, latency, out = (tmp_path / name for name in ("t.npz", "l.json", "i.json"))
    np.savez(trace, counts=instance.counts)
    model = {"kind": "token_curve", "interpolation": "step"}
    model |= {"tokens": [1, 2], "latency_us": [3, 4]}  # type: ignore[dict-item]
    latency.write_text(json.dumps([model] * models))
    run = cli("build", trace, "--latency", latency, "--gpus", 2, "-o", out)
    if models != 1:  # a single one stands for all
        refused(run, "latency")
    assert out.exists() == (models == 1)


def test_sidecar(cli: Cli, tmp_path: Path, instance: gemopt.Instance) -> None:
    """A missing, changed or truncated sidecar is named."""
    path, sidecar = tmp_path / "i.json", tmp_path / "i.trace.safetensors"
    gemopt.save(instance, path, inline=False)
    whole = sidecar.read_bytes()
    sidecar.write_bytes(whole[:-1] + b"\x07")
    refused(cli("solve", path), "sha256")
    sidecar.write_bytes(whole[:20])
    refused(cli("solve", path), "sha256")
    sidecar.unlink()
    refused(cli("solve", path), sidecar.name)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_set("phy2log", 0, value=[0, 1, 2, 3, 0, 1, 2, 3]), "expert 4 has no slot"),
        (_set("phy2log", 0, 0, value=99), "99 is no expert"),
        (_set("phy2log", 0, value=[0, 0, 1, 2, 3, 4, 5, 1]), "2 times"),
    ],
)
def test_infeasible_placement(
    cli: Cli,
    path: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
    problem: str,
) -> None:
    """`check` lists broken rules and exits with 1; a start with them is refused."""
    placement = tmp_path / "p.placement.json"
    assert cli("solve", path, "-s", "lpt", "-o", placement).code == 0
    document = json.loads(placement.read_text())
    change(document)
    placement.write_text(json.dumps(document))
    run = cli("check", path, placement)
    assert run.code == 1
    assert problem in run.out
    refused(cli("solve", path, "--start", placement), str(placement), problem)


def test_wasted_slots_are_counted(cli: Cli, path: Path, tmp_path: Path) -> None:
    """`check` counts the slots whose GPU holds their expert in another slot too."""
    placement = tmp_path / "p.placement.json"
    assert cli("solve", path, "-s", "lpt", "-o", placement).code == 0
    document = json.loads(placement.read_text())
    document["phy2log"][0] = [0, 0, 0, 1, 2, 3, 2, 2]
    placement.write_text(json.dumps(document))
    run = cli("check", path, placement)
    assert run.code == 1
    assert "holds their expert already: 4" in run.out


def test_placement_of_wrong_shape(cli: Cli, path: Path, tmp_path: Path) -> None:
    """A placement whose rows and slots differ is refused with both sizes."""
    placement = tmp_path / "p.placement.json"
    cli("solve", path, "-s", "lpt", "-o", placement)
    document = json.loads(placement.read_text())
    document["slots"] = [4, 5]
    placement.write_text(json.dumps(document))
    refused(cli("check", path, placement), str(placement), "8 slots", "9")


def test_placement_with_a_false_claim(cli: Cli, path: Path, tmp_path: Path) -> None:
    """A placement that costs more than its file says is refused with both figures."""
    placement = tmp_path / "p.placement.json"
    cli("solve", path, "-s", "lpt", "-o", placement)
    document = json.loads(placement.read_text())
    document["objective_us"] *= 0.9
    placement.write_text(json.dumps(document))
    refused(cli("check", path, placement), str(placement), "objective_us", "costs")


def test_placement_of_another_instance(
    cli: Cli, path: Path, tmp_path: Path, instance: gemopt.Instance
) -> None:
    """Another instance's placement needs --force."""
    placement, other = tmp_path / "p.placement.json", tmp_path / "other.json"
    cli("solve", path, "-s", "lpt", "-o", placement)
    gemopt.save(instance.steps(0, 5), other)
    refused(cli("check", other, placement), str(placement), "digest", "--force")
    assert cli("check", other, placement, "--force").code == 0
    refused(cli("solve", other, "--start", placement), "digest", "--force")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["-s", "lptt"], ["'lptt'", "did you mean 'lpt'"]),
        (["-s", "gem", "-p", "restart=1"], ["'restart'", "gem"]),
        (["-p", "nonsense"], ["'nonsense'", "key=value"]),
        (["--unseen", "1.5"], ["--unseen = 1.5"]),
        (["--seed", "x"], ["--seed", "integer"]),
        (["--seed", "-1"], ["seed = -1"]),
        (["--jobs", "0"], ["jobs = 0"]),
        (["--time-limit", "-1"], ["seconds = -1"]),
        (["--improvements", "x.txt"], ["--improvements", ".csv"]),
        (["-o", "/nowhere/p.json"], ["/nowhere", "does not exist"]),
        (["--nonsense"], ["--nonsense"]),
    ],
)
def test_options_of_solve(
    cli: Cli, path: Path, arguments: list[str], parts: list[str]
) -> None:
    """A wrong option is named with its value."""
    refused(cli("solve", path, *arguments), *parts)


def test_unknown_name_and_missing_file(cli: Cli, tmp_path: Path) -> None:
    """A missing file and an unknown instance name say what is missing."""
    refused(cli("solve", tmp_path / "none.json"), "none.json")
    refused(
        cli("solve", "tiny-step", "--instances", ROOT / "instances"),
        "no instance 'tiny-step'",
        "did you mean",
    )
    refused(cli("solve", "x", "--instances", tmp_path), "catalog.json", "is missing")


def test_unwritable_output_leaves_no_file(cli: Cli, path: Path, tmp_path: Path) -> None:
    """A folder as output is refused before solving, and nothing is written."""
    before = sorted(tmp_path.iterdir())
    refused(cli("solve", path, "-o", tmp_path), "is a folder")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--gpus", "3"], ["either --profile", "or --latency"]),
        (["--latency", "LAT", "--gpus", "4"], ["slots", "6 experts", "4 GPUs"]),
        (["--latency", "LAT", "--gpus", "2", "--slots", "a"], ["--slots = 'a'"]),
        (["--latency", "LAT", "--gpus", "2", "--slots", "4"], ["fewer than 6"]),
        (["--latency", "LAT", "--gpus", "2", "--batch", "4"], ["--batch"]),
        (["--latency", "LAT", "--gpus", "2", "--sum", "99"], ["width = 99"]),
    ],
)
def test_options_of_build(
    cli: Cli,
    tmp_path: Path,
    instance: gemopt.Instance,
    arguments: list[str],
    parts: list[str],
) -> None:
    """A wrong option of `build` is named, and no instance is written."""
    trace, latency, out = (tmp_path / name for name in ("t.npz", "l.json", "i.json"))
    np.savez(trace, counts=instance.counts)
    latency.write_text(
        '{"kind": "token_curve", "interpolation": "step",'
        ' "tokens": [1, 2], "latency_us": [3, 4]}'
    )
    options = [str(latency) if each == "LAT" else each for each in arguments]
    refused(cli("build", trace, *options, "-o", out), *parts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--model", "Mixtral-8x7"], ["'Mixtral-8x7'", "did you mean"]),
        (["--experts", "8"], ["--top-k is missing"]),
        (["--model", "Mixtral-8x7B", "--steps", "0"], ["steps = 0"]),
        (["--model", "Mixtral-8x7B", "--family", "odd"], ["'odd'"]),
        (["--model", "Mixtral-8x7B", "--slots", "9"], ["--slots = 9 needs --gpus"]),
        (["--model", "Mixtral-8x7B", "--gpus", "4"], ["must end in .json"]),
    ],
)
def test_options_of_generate(
    cli: Cli, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    """A wrong option of `generate` is named, and no trace is written."""
    out = tmp_path / "t.safetensors"
    refused(cli("generate", *arguments, "-o", out), *parts)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--experts", "8", "--gpus", "4"], ["--model is missing"]),
        (["--model", "Mixtral-8x7B", "--gpus", "0"], ["gpus = 0"]),
        (["--model", "Mixtral-8x7B", "--gpus", "4", "--slots", "7"], ["fewer than 8"]),
        (
            ["--model", "Mixtral-8x7B", "--gpus", "4", "--variability", "huge"],
            ["variability = 'huge'", "medium"],
        ),
    ],
)
def test_options_of_generated_instances(
    cli: Cli, tmp_path: Path, arguments: list[str], parts: list[str]
) -> None:
    """A wrong option of an emulated instance is named, and nothing is written."""
    out = tmp_path / "i.json"
    refused(cli("generate", *arguments, "--steps", "2", "-o", out), *parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupt_keeps_the_best(tmp_path: Path, instance: gemopt.Instance) -> None:
    """Ctrl-C during solve writes the best placement so far and exits with 130."""
    path, out = tmp_path / "i.json", tmp_path / "p.placement.json"
    gemopt.save(instance, path)
    command = [sys.executable, "-m", "gemopt", "solve", path, "-s", "random"]
    command += ["-p", "draws=1000000000", "-o", out]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(6)  # long enough to start on a slow machine; it runs until told
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert gemopt.load_placement(out, instance).num_layers == instance.num_layers
