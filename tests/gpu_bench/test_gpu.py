"""On an NVIDIA GPU: results, graphs, limits, and a short profile from end to end."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gemopt.files.profile_set import load_profiles
from gemopt_gpu_bench.backends import NAMES
from gemopt_gpu_bench.backends.tiles import known_table
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.ranks import Alone
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import balanced
from gemopt_gpu_bench.measure.timing import GraphTimer, make_timer
from gemopt_gpu_bench.profile.options import Options
from gemopt_gpu_bench.profile.run import prepare
from gemopt_gpu_bench.profile.settings import settings_for
from gemopt_gpu_bench.selftest import check_backend, table_text

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or torch.version.hip is not None,
        reason="needs an NVIDIA GPU",
    ),
]
LIMIT = 64  # multiprocessors; a multiple of 8


@pytest.fixture
def device() -> torch.device:
    """The first GPU."""
    return torch.device("cuda", 0)


@pytest.mark.parametrize("name", NAMES)
def test_backends_agree_with_the_reference(name: str, device: torch.device) -> None:
    """Every backend computes the layer, rows of no expert untouched."""
    checks = check_backend(name, device)
    assert all(check.passed for check in checks), table_text(checks)


@pytest.mark.parametrize("model", ["DeepSeek-V3", "gpt-oss-20b"])
def test_tuned_tiles_compute_the_layer(model: str, device: torch.device) -> None:
    """The tiles that were tuned for a model give right results too."""
    table = known_table(*settings_for(model).shape)
    checks = check_backend("triton", device, shape=(704, 448, 6), table=table)
    assert all(check.passed for check in checks), table_text(checks)


def test_graphs_leave_out_launching(device: torch.device) -> None:
    """Graph replays of a tiny launch take less than launching eagerly does."""
    timer = make_timer(device)
    assert isinstance(timer, GraphTimer)
    layer = ExpertLayer(256, 128, 4, 64, device=device, cache_bytes=1)

    def launch(copy: int) -> torch.Tensor:
        for _ in range(8):
            layer.out[:4].add_(1.0)
        return layer.out

    samples = timer.start(launch, 1, 1.0)()
    assert len(samples) == 5
    assert min(samples) > 0
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    launch(0)
    torch.cuda.synchronize()
    begin.record()
    for _ in range(20):
        launch(0)
    end.record()
    end.synchronize()
    assert np.median(samples) < 1e3 * begin.elapsed_time(end) / 20


def test_limited_streams_are_slower_at_large_products(device: torch.device) -> None:
    """Half the multiprocessors take clearly longer for work that fills all."""
    from gemopt_gpu_bench.measure.green_contexts import limited_stream

    total = devices.multiprocessors(device)
    if total <= LIMIT:
        pytest.skip(f"the GPU has only {total} multiprocessors")
    limited = limited_stream(device, LIMIT)
    assert limited.granted == LIMIT
    a = torch.randn(4096, 4096, device=device, dtype=torch.bfloat16)

    def launch(copy: int) -> torch.Tensor:
        return a @ a

    timers = [make_timer(device), make_timer(device, limited.stream)]
    whole, part = (np.median(timer.start(launch, 1, 200.0)()) for timer in timers)
    assert part / whole > 1.15 * min(total / LIMIT, 1.5) / 1.5
    with pytest.raises(ValueError, match=r"must be in 1\.\."):
        limited_stream(device, total + 8)


def test_too_large_a_load_is_skipped(device: torch.device) -> None:
    """A point that does not fit into memory is noted, and the next one is measured."""
    from gemopt_gpu_bench.backends import make
    from gemopt_gpu_bench.measure.session import Session
    from gemopt_gpu_bench.measure.timing import Pacer

    class Greedy:
        name, table = "greedy", None

        def bind(self, layer: ExpertLayer, counts: object, mean: float) -> object:
            if mean > 2:
                torch.empty(2**44, dtype=torch.uint8, device=device)
            return make("loop").bind(layer, counts, mean)  # type: ignore[arg-type]

    layer = ExpertLayer(128, 128, 2, 16, device=device)
    session = Session(
        layer,
        Greedy(),  # type: ignore[arg-type]
        make_timer(device),
        devices.clocks_of(device),
        Pacer(1.0),
    )
    large, small = (session.measure(balanced("x", 2, t)) for t in (8, 2))
    assert not large.samples_us
    assert "out of memory at 8 tokens" in large.note
    assert small.samples_us


@pytest.mark.parametrize("limits", [None, "132,64"])
def test_short_profile(limits: str | None, tmp_path: Path) -> None:
    """A small layer is profiled to its file, with and without limits of SMs."""
    if limits and devices.multiprocessors(torch.device("cuda", 0)) != 132:
        pytest.skip("the limits are those of a card with 132 multiprocessors")
    file = tmp_path / "gpu.profile.json"
    options = Options(
        hidden=512, intermediate=256, experts=8, output=file, device="cuda:0",
        sm_limit=limits, max_tokens=1024,
    )  # fmt: skip
    run, (task,), _ = prepare(options, Alone())
    run.measure(task)
    profiles = load_profiles(file)
    assert len(profiles) == (2 if limits else 1)
    for each in profiles:
        assert each.device["kind"] == "cuda"
        assert len(each.device["uuid_sha256"]) == 16
        assert each.fits[0].validation["mape"] < 0.15
        assert each.measurement["fingerprint"]
