"""The devices of this machine: found, described, and how fast they can be at best."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch

from gemopt_gpu_bench.measure.clocks import Clocks, NoClocks, make_clocks


@dataclass(frozen=True)
class Ceilings:
    """Fastest copy (read + write) and matrix product that were seen on a device."""

    tbps: float
    tflops: float


#: For sizing samples where nothing was measured.
ROUGH = Ceilings(tbps=3.0, tflops=800.0)


def find(kind: str = "auto") -> list[torch.device]:
    """Devices to be measured.

    Parameters
    ----------
    kind
        ``"auto"`` takes all visible GPUs, of any vendor that torch supports; ``"cpu"``
        the host; else a kind (``"cuda"``) or some devices (``"cuda:0,1"``). A device
        named twice is measured twice.

    Raises
    ------
    ValueError
        No such device; the message says what to do.
    """
    if set(kind.split(",")) == {"cpu"}:
        return [torch.device("cpu")] * len(kind.split(","))
    found = torch.accelerator.current_accelerator()
    if found is None or not torch.accelerator.is_available():
        raise ValueError(
            f"device {kind!r}: torch {torch.__version__} sees no GPU here; install the "
            "build of torch for your GPU, check CUDA_VISIBLE_DEVICES, or try the plan "
            "with --device cpu"
        )
    count = torch.accelerator.device_count()
    every = [torch.device(found.type, i) for i in range(count)]
    if kind in ("auto", found.type):
        return every
    by_name = {str(device): device for device in every}
    prefix, _, numbers = kind.partition(":")
    names = [n if ":" in n else f"{prefix}:{n}" for n in numbers.split(",")]
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ValueError(
            f"device {kind!r} is not here; visible: {', '.join(by_name)}, cpu"
        )
    return [by_name[name] for name in names]


def clocks_of(device: torch.device) -> Clocks:
    """Reader of clocks and power; reads nothing where NVML does not apply."""
    if device.type != "cuda" or torch.version.hip:
        return NoClocks()
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return make_clocks(None if uuid is None else str(uuid))


def multiprocessors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 on the CPU."""
    return int(getattr(_properties(device), "multi_processor_count", 1))


def cache_bytes(device: torch.device) -> int:
    """Last-level cache of a GPU; 0 where torch does not tell."""
    return int(getattr(_properties(device), "L2_cache_size", 0))


def empty_cache(device: torch.device) -> None:
    """Give memory that torch keeps for reuse back to the device; nothing on the CPU."""
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def _properties(device: torch.device) -> Any:
    if device.type == "cpu":
        return None
    return torch.get_device_module(device).get_device_properties(device)


def card_name(device: torch.device) -> str:
    """Short name of a device, such as H100: the first word that ends in a digit."""
    properties = _properties(device)
    words = ["CPU"] if properties is None else str(properties.name).split()
    return next((word for word in words if word[-1:].isdigit()), words[-1])


def describe(device: torch.device, clocks: Clocks) -> dict[str, Any]:
    """Record of a device for a profile. Its UUID is hashed: enough to tell cards apart.

    Returns
    -------
    dict
        JSON values; what is unknown is left out.
    """
    record: dict[str, Any] = {
        "kind": device.type,
        "name": "CPU",
        "torch": str(torch.__version__),
    }
    properties = _properties(device)
    if properties is not None:
        uuid = str(getattr(properties, "uuid", ""))
        record |= {
            "name": properties.name,
            "uuid_sha256": hashlib.sha256(uuid.encode()).hexdigest()[:16],
            "multiprocessors": multiprocessors(device),
            "memory_bytes": int(properties.total_memory),
            "cache_bytes": cache_bytes(device),
        }
    if device.type == "cuda":
        record["cuda"] = str(torch.version.cuda or torch.version.hip)
        record["triton"] = _triton_version()
    return record | clocks.facts()


def _triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


def measure_ceilings(device: torch.device, gib: float = 1.0) -> Ceilings:
    """Time a large copy and an 8192-cubed bf16 product on random data."""
    if device.type == "cpu":
        return ROUGH
    size = int(gib * 2**30 / 2)
    source = torch.randn(2**20, device=device).bfloat16().repeat(size // 2**20)
    target = torch.empty_like(source)
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    copy_us = _best_us(device, lambda: target.copy_(source))
    product_us = _best_us(device, lambda: a @ b)
    return Ceilings(
        tbps=2 * source.nbytes / copy_us / 1e6, tflops=2 * 8192**3 / product_us / 1e6
    )


def _best_us(device: torch.device, work: Any, repeats: int = 10) -> float:
    """Median of `repeats` after three warm-ups, us."""
    times = []
    for i in range(repeats + 3):
        begin = torch.Event(device, enable_timing=True)
        end = torch.Event(device, enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(1e3 * begin.elapsed_time(end))
    return float(sorted(times)[len(times) // 2])
