"""Clocks, power, temperature and throttling of a GPU: read, never set."""

from dataclasses import dataclass
from typing import Any, Protocol

IDLE = 1  #: clock event reason: nothing to do
POWER_CAP = 4  #: clock event reason: software power cap
#: Reasons that make a sample slower than the card can be: power cap, hardware
#: slowdown, software and hardware thermal slowdown, power brake.
THROTTLED = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True)
class Reading:
    """State of a GPU at one moment; `reasons` are NVML's clock event bits."""

    sm_mhz: int
    memory_mhz: int
    power_w: float
    temperature_c: int
    reasons: int

    @property
    def throttled(self) -> bool:
        """Tell whether clocks were held down."""
        return bool(self.reasons & THROTTLED)


class Clocks(Protocol):
    """Reads one GPU."""

    def read(self) -> Reading | None:
        """Read the state, None where it cannot be read."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what does not change: limits, driver."""
        ...

    def others(self) -> list[int]:
        """Return the ids of other processes that compute on the GPU."""
        ...


class NoClocks:
    """For devices that cannot be read: everything is unknown."""

    def read(self) -> Reading | None:
        return None

    def facts(self) -> dict[str, Any]:
        return {}

    def others(self) -> list[int]:
        return []


class Nvml:
    """NVIDIA GPUs, through the package nvidia-ml-py."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._nvml: Any = pynvml
        pynvml.nvmlInit()
        full = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(full)

    def read(self) -> Reading | None:
        nvml, gpu = self._nvml, self._handle
        return Reading(
            nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
            nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),
            nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3,
            nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
            int(nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)),
        )

    def facts(self) -> dict[str, Any]:
        nvml, gpu = self._nvml, self._handle
        return {
            "driver": str(nvml.nvmlSystemGetDriverVersion()),
            "power_limit_w": nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3,
            "max_sm_mhz": nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
            "max_memory_mhz": nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM),
        }

    def others(self) -> list[int]:
        import os

        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        return [int(p.pid) for p in running if int(p.pid) != os.getpid()]


def make_clocks(uuid: str | None) -> Clocks:
    """Reader of the GPU with this UUID; `NoClocks` where NVML is not to be had."""
    if uuid is None:
        return NoClocks()
    try:
        return Nvml(uuid)
    except Exception:  # no package, no driver, another vendor: all mean unknown
        return NoClocks()
