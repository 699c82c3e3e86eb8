"""A whole profile on the CPU, and what becomes of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import gemopt
from gemopt.files.profile_file import load_profile, save_profile
from gemopt_gpu_bench.backends import NAMES, make
from gemopt_gpu_bench.backends.base import Launch
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.ranks import Alone, DoesNotFit
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.session import Point
from gemopt_gpu_bench.profile.compare import own_spread, samples_by_load
from gemopt_gpu_bench.profile.document import to_profile
from gemopt_gpu_bench.profile.options import Options
from gemopt_gpu_bench.profile.profile import GpuProfile, profile
from gemopt_gpu_bench.profile.run import prepare
from gemopt_gpu_bench.profile.settings import Settings, settings_for
from gemopt_gpu_bench.selftest import check_backend, table_text

CPU = torch.device("cpu")
SETTINGS = Settings(
    "trial", 32, 48, 4, 8, backend="loop", max_tokens=64, mode="sustained",
    most_vectors=40,
)  # fmt: skip


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> GpuProfile:
    """A profile of a tiny layer with its journal."""
    folder = tmp_path_factory.mktemp("profile")
    trace = np.random.default_rng(0).poisson(9, (64, 1, 8))
    return profile(SETTINGS, CPU, trace=trace, journal=folder / "points.jsonl")


def test_profile_loads_into_an_instance(outcome: GpuProfile, tmp_path: Path) -> None:
    """The file of a profile gives an instance its latency as it is."""
    path = tmp_path / "cpu.profile.json"
    save_profile(to_profile(outcome), path)
    read = load_profile(path)
    assert read.latency == outcome.fits[0].model
    assert read.shape["hidden"] == 32
    counts = np.random.default_rng(1).poisson(9, (4, 1, 8))
    instance = gemopt.Instance.from_arrays(counts, [read.latency] * 2)
    result = gemopt.solve(instance, "lpt")
    assert result.objective > 0
    assert own_spread(read) >= 0
    assert samples_by_load(read, high=64)


def test_every_family_is_kept_with_its_error(outcome: GpuProfile) -> None:
    """All fits are stored, the best on unseen points first, misses named."""
    families = {fit.family for fit in outcome.fits}
    assert {"tile_active", "roofline", "curve_linear", "curve_step"} <= families
    mapes = [fit.validation.mape for fit in outcome.fits]
    assert mapes == sorted(mapes)
    assert all("%" in text for text in outcome.missed)


def test_interrupted_profile_goes_on(tmp_path: Path) -> None:
    """A journal cut in the middle of a line is resumed, and its points are kept."""
    path = tmp_path / "points.jsonl"
    first: list[Point] = []
    whole = profile(SETTINGS, CPU, journal=path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:10]) + "\n" + lines[10][:20])
    again = profile(SETTINGS, CPU, journal=path, resume=True)
    kept = {p.load: p.samples_us for p in whole.run.points}
    same = [p for p in again.run.points if kept.get(p.load) == p.samples_us]
    assert len(same) >= 9
    assert not first
    other = settings_for("Mixtral-8x7B", backend="loop")
    with pytest.raises(ValueError, match="other settings"):
        profile(
            Settings(**{**SETTINGS.to_json(), "seed": other.seed + 1}),
            CPU,
            journal=path,
            resume=True,
        )


@pytest.mark.parametrize("name", [n for n in NAMES if n != "triton"])
def test_backends_agree_with_the_reference(name: str) -> None:
    """Every backend that runs here computes the layer."""
    checks = check_backend(name, CPU, shape=(32, 48, 3), dtype=torch.bfloat16)
    assert all(check.passed for check in checks), table_text(checks)


def test_unknown_backend_device_and_shape_are_named() -> None:
    """What cannot be had is refused with the value and what to do."""
    with pytest.raises(ValueError, match="backend 'magic' is unknown"):
        make("magic")
    if not torch.accelerator.is_available():
        with pytest.raises(ValueError, match="sees no GPU here"):
            devices.find("auto")
    with pytest.raises(ValueError, match="give a model, or all of"):
        settings_for(None, hidden=8)
    with pytest.raises(ValueError, match="max_tokens = 1 is less than"):
        settings_for(None, hidden=8, intermediate=8, experts=2, max_tokens=1)
    with pytest.raises(ValueError, match="mode = 'warm'"):
        settings_for("Mixtral-8x7B", mode="warm")
    assert settings_for("DeepSeek-V3").total_experts == 256


def test_points_that_do_not_fit_are_skipped_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Out of memory at large loads leaves a profile of the others, and a note each."""
    loop = make("loop")

    class Small:
        name, table = "small", None

        def bind(self, layer: ExpertLayer, counts: list[int], mean: float) -> Launch:
            if sum(counts) > 60:
                raise torch.OutOfMemoryError
            return loop.bind(layer, counts, mean)

    monkeypatch.setattr("gemopt_gpu_bench.backends.make", lambda name, table: Small())
    options = Options(
        hidden=32, intermediate=48, experts=4, max_tokens=64, device="cpu",
        output=tmp_path / "small.profile.json",
    )  # fmt: skip
    run, (task,), _ = prepare(options, Alone())
    (profile,) = run.measure(task)
    skipped = profile.measurement["skipped"]
    assert "skipped: out of memory at 64 tokens" in skipped
    assert all(sum(point.counts) <= 60 for point in profile.points)

    def too_large(*args: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("gemopt_gpu_bench.profile.run.make_layer", too_large)
    with pytest.raises(DoesNotFit, match="fewer --experts or --max-tokens"):
        run.measure(task)
