"""From options to shapes and files, and back to a command line; comparing profiles."""

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gemopt.files.profile_file import Profile, ProfilePoint
from gemopt.latency import affine
from gemopt.traffic.shapes import SHAPES
from gemopt_gpu_bench.hosts import launch as launch_module
from gemopt_gpu_bench.hosts.launch import launch
from gemopt_gpu_bench.profile.compare import Verdict, compare_ranges, own_spread
from gemopt_gpu_bench.profile.options import Options
from gemopt_gpu_bench.profile.settings import TRIAL_WIDTH
from gemopt_gpu_bench.profile.targets import EXPERTS_PER_GPU


def test_all_shapes_by_default_in_their_committed_sizes() -> None:
    """No name means all seven models, on a GPU as they are, on the CPU shrunk."""
    whole = Options().settings("cuda", 1)
    assert [each.model for each in whole] == list(SHAPES)
    assert [each.experts for each in whole] == list(EXPERTS_PER_GPU.values())
    assert {each.mode for each in whole} == {"burst"}
    assert {each.max_tokens for each in whole} == {8192}
    for small in Options().settings("cpu", 1):
        assert max(small.hidden, small.intermediate) <= TRIAL_WIDTH
        assert small.hidden % 16 == 0
        assert small.intermediate % 16 == 0


def test_own_sizes_count_the_experts_of_all_gpus() -> None:
    """Without --total-experts a layer has the experts of the GPUs that are measured."""
    own = Options(hidden=64, intermediate=32, experts=4)
    assert own.settings("cuda", 6)[0].total_experts == 24
    told = replace(own, total_experts=128)
    assert told.settings("cuda", 6)[0].total_experts == 128
    assert replace(own, concurrent=True).settings("cuda", 2)[0].mode == "sustained"


def test_files_are_named_by_what_they_hold() -> None:
    """Names tell card, model, limits and mode apart; one file takes one shape."""
    options = Options(("Mixtral-8x7B",), output=Path("out"), sm_limit="132,88")
    chosen = options.settings("cuda", 2)
    (path,) = options.outputs("H100", chosen)
    assert path == Path("out/h100-mixtral-8x7b-e2-sm132_88.profile.json")
    other = replace(options, mode="sustained", backend="loop", sm_limit=None)
    (path,) = other.outputs("H100", other.settings("cuda", 1))
    assert path.name == "h100-mixtral-8x7b-e2-sustained-loop.profile.json"
    file = replace(options, output=Path("x.profile.json"))
    assert file.outputs("H100", chosen) == [Path("x.profile.json")]


def test_a_command_line_says_the_same_again() -> None:
    """What the processes of a run are given repeats what was asked for."""
    options = Options(("a", "b"), experts=3, output=Path("x"), resume=True, seed=2)
    words = options.arguments()
    assert words[:2] == ["a", "b"]
    pairs = dict(pairwise(words))
    assert pairs["--experts"] == "3"
    assert pairs["--output"] == "x"
    assert pairs["--seed"] == "2"
    assert "--resume" in words
    assert "--concurrent" not in words
    assert "--trace" not in words


def test_one_process_that_fails_ends_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The exit code is that of the failed rank; the others do not go on for ever."""
    script = tmp_path / "worker"
    script.write_text(
        "#!/bin/sh\n"
        'if [ "$RANK" = 1 ]; then exit 7; fi\n'
        f'exec "{sys.executable}" -c "import time; time.sleep(60)"\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr(launch_module.sys, "executable", str(script))
    assert launch([], 3) == 7
    script.write_text("#!/bin/sh\nexit 0\n")
    assert launch([], 2) == 0
    script.write_text('#!/bin/sh\nkill -9 "$$"\n')
    assert launch([], 1) == 137


def _profile(name: str, factor: float, spread: float = 0.004) -> Profile:
    rng = np.random.default_rng(3)
    points = []
    for tokens in np.geomspace(1, 4096, 40).astype(int):
        us = (20 + tokens / 10) * factor * (1 + 0.001 * rng.standard_normal(5))
        samples = tuple(float(each) for each in us)
        points.append(ProfilePoint((int(tokens),), samples, {"mean_tokens": tokens}))
    marks = [
        {"tokens": t, "cold_us": [10.0], "hot_us": [10.0 * (1 + spread)]}
        for t in (16, 2048)
    ]
    measurement = {"mode": "burst", "anchor_drift": 0.0, "fingerprint": marks}
    shape, backend = {"hidden": 8}, {"name": "loop"}
    latency = affine(1, 1)
    return Profile(name, {}, shape, backend, measurement, tuple(points), (), latency)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.2, Verdict.SLOWER), (0.8, Verdict.FASTER), (1.001, Verdict.SAME)],
)
def test_ranges_are_compared_beyond_a_cards_own_spread(
    factor: float, verdict: Verdict
) -> None:
    """All loads, few and many tokens each get a verdict against the first GPU."""
    found = compare_ranges(_profile("a", 1.0), _profile("b", factor))
    assert set(found) == {"all", "few tokens", "many tokens"}
    for each in found.values():
        assert each is not None
        assert each.overall.verdict is verdict
        assert each.overall.ratio == pytest.approx(factor, rel=2e-3)


def test_a_restless_card_tells_less() -> None:
    """The same difference is nothing where a card differs as much from itself."""
    first, second = (_profile(n, f, 0.1) for n, f in (("a", 1.0), ("b", 1.05)))
    assert own_spread(first, high=512) == pytest.approx(0.1)
    overall = compare_ranges(first, second)["all"]
    assert overall is not None
    assert overall.overall.verdict is Verdict.SAME


def test_only_like_is_compared_with_like() -> None:
    """Other layers, kernels and modes are refused with the field that differs."""
    first = _profile("a", 1.0)
    for change in (
        {"shape": {"hidden": 16}},
        {"backend": {"name": "triton"}},
        {"measurement": first.measurement | {"mode": "sustained"}},
    ):
        (record,) = change
        with pytest.raises(ValueError, match=rf"{record}\.\w+ is '?\w+'? of a and"):
            compare_ranges(first, replace(first, name="b", **change))  # type: ignore[arg-type]
