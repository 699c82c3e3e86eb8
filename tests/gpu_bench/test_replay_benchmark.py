"""benchmarks/replay.py: its steps, its latency models, and all of it on the CPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import replay_cases as cases
from gemopt.files.profile_file import Profile, ProfilePoint
from gemopt.files.profile_set import save_profiles
from gemopt.latency import Regimes, TileActive
from gemopt_gpu_bench.backends.tiles import default_table
from gemopt_gpu_bench.replay.plan import ReplayPlan
from gemopt_gpu_bench.replay.result import ReplayResult

ROOT = Path(__file__).parents[2]
BACKEND = {"name": "triton", "tiles": default_table(16, 16, 16).to_json()}


def test_steps_are_whole_batches_and_unseen_ones_stay_apart() -> None:
    """Every step has all its tokens, and windows never leave their half."""
    steps = np.eye(12, dtype=np.int64)[:, None, :]  # step t marks column t
    sums = cases.windows(steps, 4, 1 / 2)[:, 0]
    assert sums.tolist() == [
        [int(s <= t < s + 4) for t in range(12)] for s in range(0, 9, 2)
    ]
    for phase, tokens, count in (("prefill", 2560, 11), ("decode", 64, 12)):
        seen, unseen = cases.small_model_steps()[phase]
        assert len(unseen) == count
        assert (seen.sum(axis=2) == 8 * tokens).all()
        assert (unseen.sum(axis=2) == 8 * tokens).all()


def test_token_ids_become_whole_batches(tmp_path: Path) -> None:
    """Steps of 2560 tokens with 4 experts each; all tokens are there."""
    rng = np.random.default_rng(0)
    requests, length = 80, 400
    ids = np.stack([rng.permutation(32)[:4] for _ in range(requests * length)])
    path = tmp_path / "ids.npz"
    np.savez(
        path,
        expert_ids=ids[:, None].astype(np.uint8),
        request_offsets=np.arange(requests + 1) * length,
    )
    seen, unseen = cases.gpt_oss_steps(path)
    for part in (seen, unseen):
        assert len(part) and (part.sum(axis=2) == 2560 * 4).all()
    assert len(seen) > len(unseen)


def _profile(sms: int, shape: dict[str, object]) -> Profile:
    low, high = TileActive(10, 2, 0.3, 0.0, tile=16), TileActive(9, 1, 396 / sms, 0.02)
    device = {
        "name": "card",
        "uuid_sha256": "0",
        "multiprocessors": 132,
        "multiprocessors_granted": sms,
    }
    rng = np.random.default_rng(sms)
    points = []
    for mean in np.geomspace(4, 500, 12):
        counts = tuple(rng.poisson(mean, 16).tolist())
        us = float((low if mean <= 32 else high).us(np.array(counts)))
        extra = {"kind": "trace", "mean_tokens": float(mean)}
        points.append(ProfilePoint(counts, (us,), extra))
    return Profile(
        f"card-{sms}", device, shape, BACKEND, {"mode": "burst"},
        tuple(points), (), Regimes([(32 * 128, low), (np.inf, high)]),
    )  # fmt: skip


def test_models_follow_the_mean_tokens_of_an_expert() -> None:
    """A profile of a layer of 128 experts predicts one of 64 at half the tokens."""
    profile = _profile(88, {"total_experts": 128})
    scaled = cases.scaled(profile, 64)
    shares = np.full((2, 16), 30.0)
    for mean in (31, 33):
        at_128 = profile.latency.us(shares, np.full(2, mean * 128))
        np.testing.assert_allclose(scaled.us(shares, np.full(2, mean * 64)), at_128)
    plain = TileActive(1.0, 1.0)
    other = Profile("", {}, {"total_experts": 8}, {}, {}, (), (), plain)
    assert cases.scaled(other, 64) is plain


def test_stored_results_are_those_of_the_stored_cases() -> None:
    """Predictions and loads of every result are its case's; errors are as published."""
    folder = ROOT / "instances" / "measured" / "replay"
    errors = []
    for line in (folder / "h100.jsonl").read_text().splitlines():
        data = json.loads(line)
        result, case = ReplayResult.from_json(data), data["record"]["case"]
        plan = ReplayPlan.load(folder / "cases" / f"{case['name']}.npz")
        assert plan.names == result.names
        np.testing.assert_allclose(plan.predicted_us, result.predicted_us, atol=0.01)
        assert (plan.counts.sum(axis=(3, 4)) == plan.mean_tokens * 64).all()
        assert result.us.shape[1:] == plan.predicted_us.shape
        errors += [abs(result.error(i)) for i in range(len(result.names))]
    assert len(errors) == 60 and sum(error <= 0.03 for error in errors) == 56
    assert np.mean(errors) == pytest.approx(0.0096, abs=5e-5)


def _run(*words: str | Path) -> str:
    command = [sys.executable, "-m", "benchmarks.replay", *words]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_whole_benchmark_on_the_cpu(tmp_path: Path) -> None:
    """Prepare, measure in two goes, report: every case has its rows."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    shape = {"hidden": 16, "intermediate": 16, "experts": 16, "total_experts": 128}
    for model in cases.SHAPES:
        path = folder / f"card-{model.lower()}.profile.json"
        save_profiles([_profile(sms, shape) for sms in cases.SMS], path)
    text = _run("prepare", tmp_path / "cases", "--profiles", folder)
    assert text.count(" unseen; ") == 12
    out = tmp_path / "cpu.jsonl"
    args = "measure", tmp_path / "cases", out, "--device", "cpu", "--repeats", "2"
    assert "no time" in _run(*args, "--seconds", "5")
    first = out.read_text()
    assert "done before" in _run(*args)
    assert out.read_text().startswith(first)
    text = _run("report", out)
    assert text.count("| DeepSeek-V3 | ") == 12  # four cases in three tables
    assert "60 placements: mean absolute error" in text
    save_profiles([_profile(sms, shape) for sms in (132, 120)], path)
    with pytest.raises(ValueError, match="0 files with profiles of DeepSeek-V3 on"):
        cases.find_profiles(folder, "DeepSeek-V3")
