"""`gemopt profile` on the CPU: files, several devices, resuming, clear messages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.files.profile_set import load_profiles
from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]
MODULE = "gemopt_gpu_bench"
TINY = (
    *("--hidden", 32, "--intermediate", 48, "--experts", 4),
    *("--max-tokens", 64, "--device"),
)
TORCHRUN = (
    *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    *("-m", "gemopt_gpu_bench"),
)


def _python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python with one thread in the checkout."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_profile_goes_into_an_instance(cli: Cli, tmp_path: Path) -> None:
    """profile, build, solve: the whole route from a device to a placement."""
    file, trace = tmp_path / "two.profile.json", tmp_path / "trace.npz"
    counts = np.random.default_rng(0).poisson(9, (24, 2, 8))
    np.savez(trace, counts=counts)
    run = cli("profile", *TINY, "cpu,cpu", "-o", file, "--trace", trace, "--json")
    assert run.code == 0, run.err
    facts = json.loads(run.out)
    assert [each["gpu"] for each in facts] == ["CPU-0", "CPU-1"]
    assert all(each["points"] > 50 for each in facts)
    instance, best = tmp_path / "i.json", tmp_path / "b.placement.json"
    assert cli("build", trace, "--profile", file, "-o", instance).code == 0
    assert cli("solve", instance, "-s", "lpt", "-o", best).code == 0
    assert gemopt.load(instance).num_gpus == 2
    assert [each.shape["total_experts"] for each in load_profiles(file)] == [8, 8]


def test_named_models_are_shrunk_on_the_cpu(cli: Cli, tmp_path: Path) -> None:
    """A folder gets one file per model, whose record says how far it was shrunk."""
    run = cli("profile", "mixtral-8x7b", "--device", "cpu", "-o", tmp_path)
    assert run.code == 0, run.err
    assert "say nothing about a GPU" in run.err
    (file,) = tmp_path.glob("*.profile.json")
    (profile,) = load_profiles(file)
    assert profile.shape["model"] == "Mixtral-8x7B/64"
    assert profile.shape["intermediate"] == 224
    assert str(file) in run.out


def test_two_profiles_are_compared(cli: Cli, tmp_path: Path) -> None:
    """A GPU is the same as itself, in tables and in JSON."""
    file = tmp_path / "a.profile.json"
    assert cli("profile", *TINY, "cpu", "-o", file).code == 0
    run = cli("profile", "--compare", file, file)
    assert "same" in run.out
    assert "treat them as equal" in run.out
    found = json.loads(cli("profile", "--compare", file, file, "--json").out)
    assert {each["verdict"] for each in found} == {"same"}
    assert all(each["ratio"] == 1.0 for each in found)
    alone = cli("profile", "--compare", file)
    assert alone.code == 2
    assert "has 1 GPUs to compare" in alone.err


def test_selftest_prints_relative_errors(cli: Cli) -> None:
    """Backends that run on the CPU are checked, the other is named."""
    run = cli("profile", "--selftest", "--device", "cpu")
    assert run.code == 0
    assert "relative error" in run.out
    assert "grouped_mm" in run.out
    assert "triton needs a GPU" in run.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Mixtral-9x9B", "--device", "cpu"), "did you mean 'Mixtral-8x7B'"),
        ((*TINY, "cpu", "--sm-limit", "many"), "--sm-limit = 'many'"),
        ((*TINY, "cpu", "--sm-limit", "8"), "needs an NVIDIA GPU"),
        ((*TINY, "cpu", "--mode", "warm"), "mode = 'warm'"),
        ((*TINY, "cpu", "--backend", "magic"), "backend 'magic' is unknown"),
        (("--device", "cpu", "--experts", 2), "go with one shape"),
        (("--device", "cpu", "-o", "x.profile.json"), "7 shapes need a folder"),
        (("--hidden", 8, "--device", "cpu"), "all of hidden, intermediate"),
    ],
)
def test_bad_options_are_named(
    cli: Cli, arguments: tuple[object, ...], message: str
) -> None:
    """Wrong use gives one line that names the option, and exit code 2."""
    run = cli("profile", *arguments)
    assert run.code == 2
    assert message in run.err
    assert run.err.strip().count("\n") <= 1


def test_no_gpu_and_no_torch_are_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU or torch the message says what to do."""
    import torch

    if not torch.accelerator.is_available():
        run = cli("profile")
        assert run.code == 2
        assert "--device cpu" in run.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run = cli("profile")
    assert run.code == 2
    assert "pip install 'gemopt[gpu]'" in run.err


def test_concurrent_workers_write_one_file(tmp_path: Path) -> None:
    """`--concurrent` measures on all devices at once, one process each."""
    file = tmp_path / "both.profile.json"
    run = _python(
        "-m", "gemopt_gpu_bench", *TINY, "cpu,cpu", "--concurrent", "-o", file
    )
    assert run.returncode == 0, run.stderr
    profiles = load_profiles(file)
    assert [each.device["rank"] for each in profiles] == [0, 1]
    assert {each.device["together"] for each in profiles} == {2}
    assert {each.measurement["mode"] for each in profiles} == {"sustained"}
    assert list(tmp_path.iterdir()) == [file]


def test_torchrun_gathers_on_rank_0(tmp_path: Path) -> None:
    """Under torchrun every rank measures and rank 0 writes one file of all."""
    file = tmp_path / "all.profile.json"
    run = _python(*TORCHRUN, *TINY, "cpu", "-o", file)
    assert run.returncode == 0, run.stderr
    profiles = load_profiles(file)
    assert [each.name for each in profiles] == ["CPU-0", "CPU-1"]
    assert [each.device["host"] for each in profiles] == [0, 0]
    assert run.stdout.count(str(file)) == 3  # two rows and the comparison: rank 0 only
    assert list(tmp_path.iterdir()) == [file]


def test_interrupted_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    """Ctrl-C keeps the points and says how to go on; `--resume` measures the rest."""
    file = tmp_path / "a.profile.json"
    command = [
        sys.executable,
        "-m",
        "gemopt_gpu_bench",
        *map(str, TINY),
        "cpu",
        "-o",
        file,
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "a.0-0.points.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") > 12):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    kept = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    options = ("profile", *TINY, "cpu", "-o", file, "--resume")
    run = cli(*options)
    assert run.code == 0, run.err
    (profile,) = load_profiles(file)
    samples = {(p.extra["kind"], p.counts): p.samples_us for p in profile.points}
    for point in kept:
        key = point["kind"], tuple(point["counts"])
        assert samples[key] == tuple(round(us, 2) for us in point["samples_us"])
    assert not journal.exists()
    assert "is there, kept" in cli(*options).err
    other = cli(*options, "--seed", 7)
    assert other.code == 2
    assert "has seed = 0, not 7" in other.err
