"""Devices of other vendors, stood in for by fakes; and what is said of busy ones."""

from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from gemopt_gpu_bench import backends
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.ranks import hosts_of, own_devices
from gemopt_gpu_bench.measure.clocks import (
    POWER_CAP,
    NoClocks,
    Nvml,
    Reading,
    make_clocks,
)
from gemopt_gpu_bench.measure.green_contexts import limited_stream
from gemopt_gpu_bench.measure.timing import (
    EventTimer,
    launches_per_sample,
    make_timer,
)
from gemopt_gpu_bench.profile import run

XPU = torch.device("xpu", 1)


@pytest.fixture
def xpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of a vendor whose properties have other names."""
    properties = SimpleNamespace(name="Vendor GPU Max 1550", total_memory=2**36)
    module = SimpleNamespace(get_device_properties=lambda device: properties)
    kind = torch.device("xpu")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: kind)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)


@pytest.mark.usefixtures("xpu")
def test_gpus_of_any_vendor_are_found_and_described() -> None:
    """Names pick devices; a record holds what the vendor's build of torch tells."""
    assert [str(d) for d in devices.find("auto")] == ["xpu:0", "xpu:1"]
    assert devices.find("xpu:1,0") == [XPU, torch.device("xpu", 0)]
    assert devices.find("xpu:1,xpu:1") == [XPU, XPU]
    for wrong in ("cuda", "xpu:2", "xpu:0,7"):
        with pytest.raises(ValueError, match="visible: xpu:0, xpu:1, cpu"):
            devices.find(wrong)
    record = devices.describe(XPU, devices.clocks_of(XPU))
    assert record["name"] == "Vendor GPU Max 1550"
    assert record["multiprocessors"] == 1
    assert "cuda" not in record
    assert devices.card_name(XPU) == "1550"


def test_gpus_without_graphs_are_timed_by_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eager launches between events stand in for graphs; samples are per launch."""

    class FakeEvent:
        clock_ms: ClassVar[float] = 0.0

        def __init__(self, device: Any, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at_ms = FakeEvent.clock_ms

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, other: "FakeEvent") -> float:
            return other.at_ms - self.at_ms

    copies: list[int] = []

    def launch(copy: int) -> torch.Tensor:
        copies.append(copy)
        FakeEvent.clock_ms += 0.04
        return torch.empty(0)

    monkeypatch.setattr(torch, "Event", FakeEvent)
    timer = make_timer(XPU)
    assert isinstance(timer, EventTimer)
    samples = timer.start(launch, 3, 100.0, kept=4)()
    assert samples == pytest.approx([40.0] * 4)
    each = launches_per_sample(3, 100.0)
    assert each % 3 == 0
    assert copies == [0, *[i % 3 for i in range(each)] * 4]


def test_what_only_nvidia_has_is_refused_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ROCm builds, which call themselves cuda, read no NVML and have no SM limits."""
    monkeypatch.setattr(torch.version, "hip", "7.0")
    gpu = torch.device("cuda", 0)
    assert isinstance(devices.clocks_of(gpu), NoClocks)
    for device in (gpu, XPU, torch.device("cpu")):
        with pytest.raises(ValueError, match="needs an NVIDIA GPU"):
            limited_stream(device, 64)
    assert isinstance(make_clocks(None), NoClocks)


def test_the_default_backend_suits_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Triton where it is installed, else torch's own; plain products on the CPU."""
    assert backends.default("cpu") == "loop"
    for spec, name in ((object(), "triton"), (None, "grouped_mm")):
        monkeypatch.setattr(backends, "find_spec", lambda _, spec=spec: spec)
        assert backends.default("cuda") == name
        assert backends.default("xpu") == name


def test_ranks_take_their_own_gpu() -> None:
    """Outside torchrun all devices are this process's; inside, the local rank's."""
    found = [torch.device("xpu", 0), XPU]
    assert own_devices(found, {}) == found
    rank = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert own_devices(found, rank) == [XPU]
    with pytest.raises(ValueError, match="local rank 2 has no GPU of its own"):
        own_devices(found, rank | {"LOCAL_RANK": "2"})
    assert hosts_of(["b", "b", "a", "b"]) == [0, 0, 1, 0]


class FakeNvml:
    """The functions of pynvml that are read."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    def nvmlDeviceGetClockInfo(self, gpu: str, kind: int) -> int:
        return {1: 1410, 2: 2619}[kind]

    def nvmlDeviceGetPowerUsage(self, gpu: str) -> int:
        return 699_500

    def nvmlDeviceGetTemperature(self, gpu: str, kind: int) -> int:
        return 66

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: str) -> int:
        return POWER_CAP

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: str) -> list[Any]:
        return [SimpleNamespace(pid=4711)]


def _fake_clocks() -> Nvml:
    clocks = Nvml.__new__(Nvml)
    clocks._nvml, clocks._handle = FakeNvml(), "gpu"
    return clocks


def test_power_cap_is_read_and_busy_gpus_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reading at the power cap counts as throttled; other processes are a warning."""
    clocks = _fake_clocks()
    reading = clocks.read()
    assert reading == Reading(1410, 2619, 699.5, 66, POWER_CAP)
    assert reading.throttled
    monkeypatch.setattr(devices, "clocks_of", lambda device: clocks)
    (line,) = run._busy(XPU)
    assert "4711" in line
    assert "xpu:1" in line
    monkeypatch.setattr(devices, "clocks_of", lambda device: NoClocks())
    assert not run._busy(XPU)
