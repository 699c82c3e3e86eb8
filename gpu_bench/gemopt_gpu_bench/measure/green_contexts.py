"""Streams that may use only some multiprocessors: several speeds on one card.

Green contexts partition a GPU for this process alone; no setting of the card changes.
"""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class LimitedStream:
    """A stream and the multiprocessors that it was granted.

    `keep` holds the driver's objects, which must live as long as the stream.
    """

    stream: Any
    granted: int
    keep: tuple[Any, ...]


def limited_stream(device: torch.device, wanted: int) -> LimitedStream:
    """Make a stream on `wanted` multiprocessors of `device`.

    The driver grants multiples of a hardware unit (8 on Hopper); all of them means no
    partition at all.

    Raises
    ------
    ValueError
        No NVIDIA GPU, no package cuda-bindings, or a number that the GPU cannot grant.
    """
    if device.type != "cuda" or torch.version.hip:
        raise ValueError("--sm-limit needs an NVIDIA GPU: it uses green contexts")
    total = torch.cuda.get_device_properties(device).multi_processor_count
    if not 0 < wanted <= total:
        raise ValueError(f"--sm-limit {wanted} must be in 1..{total}")
    if wanted == total:
        return LimitedStream(torch.cuda.Stream(device), total, ())
    try:
        from cuda.bindings import driver
    except ImportError:
        raise ValueError(
            "--sm-limit needs the package cuda-bindings; pip install cuda-bindings"
        ) from None
    torch.zeros(1, device=device)  # the primary context must exist
    handle = _checked(driver.cuDeviceGet(device.index or 0))
    kind = driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM
    resource = _checked(driver.cuDeviceGetDevResource(handle, kind))
    groups, _, _ = _checked(driver.cuDevSmResourceSplitByCount(1, resource, 0, wanted))
    granted = int(groups[0].sm.smCount)
    if granted != wanted:
        raise ValueError(
            f"--sm-limit {wanted}: the driver grants {granted}; ask for a multiple of 8"
        )
    descriptor = _checked(driver.cuDevResourceGenerateDesc([groups[0]], 1))
    flags = driver.CUgreenCtxCreate_flags.CU_GREEN_CTX_DEFAULT_STREAM
    context = _checked(driver.cuGreenCtxCreate(descriptor, handle, flags))
    non_blocking = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
    stream = _checked(driver.cuGreenCtxStreamCreate(context, non_blocking, 0))
    external = torch.cuda.ExternalStream(int(stream), device=device)
    return LimitedStream(external, granted, (resource, descriptor, context, stream))


def _checked(answer: tuple[Any, ...]) -> Any:
    """Raise unless the driver call succeeded; return its value or values."""
    error, *values = answer
    if int(error) != 0:
        raise ValueError(f"--sm-limit: the CUDA driver answered {error.name}")
    return values[0] if len(values) == 1 else tuple(values)
