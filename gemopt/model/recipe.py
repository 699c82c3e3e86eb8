"""What an instance is made of, when routing and measured GPUs are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints, whole
from gemopt.latency.base import LatencyModel
from gemopt.model.communication import Communication
from gemopt.model.topology import Topology
from gemopt.model.trace import RoutingTrace


@runtime_checkable
class HasLatency(Protocol):
    """A measured GPU, such as a profile: its name and its latency model."""

    @property
    def name(self) -> str: ...

    @property
    def latency(self) -> LatencyModel: ...


Measured: TypeAlias = HasLatency | LatencyModel
Profiles: TypeAlias = Measured | Sequence[Measured]


def gpu_models(
    profiles: Profiles, gpus: int | None
) -> tuple[list[LatencyModel], list[str]]:
    """Latency model and name of each GPU; no names where there are only models.

    Raises
    ------
    ValueError
        No profile, or a number of them that is neither one nor `gpus`.
    """
    given = list(profiles) if isinstance(profiles, Sequence) else [profiles]
    if not given:
        raise ValueError("profiles is empty; give one for each GPU, or one and gpus")
    if gpus is not None and gpus < 1:
        raise ValueError(f"gpus = {gpus} must be >= 1")
    if gpus is not None and len(given) not in (1, gpus):
        raise ValueError(f"gpus = {gpus}, but there are {len(given)} latency models")
    if len(given) == 1 and gpus is not None:
        given = given * gpus
    measured = [each for each in given if isinstance(each, HasLatency)]
    models = [e.latency if isinstance(e, HasLatency) else e for e in given]
    if len(measured) < len(given):
        return models, []
    names = [each.name for each in measured]
    if len(set(names)) < len(names):
        names = [f"{each}-{g}" for g, each in enumerate(names)]
    return models, names


def dealt_slots(slots: int | ArrayLike | None, gpus: int) -> Ints | None:
    """Slots of each GPU, int64 ``[gpus]``; one number is the sum, dealt evenly."""
    if slots is None:
        return None
    if np.ndim(slots) > 0:
        return whole("slots", slots, 1)
    each, rest = divmod(int(whole("slots", slots, 0)), gpus)
    return each + (np.arange(gpus) < rest).astype(np.int64)


def trace_communication(
    trace: RoutingTrace, topology: Topology | None, hidden: int | None, overlap: float
) -> Communication | None:
    """All-to-all of a trace over links, or None without links.

    Raises
    ------
    ValueError
        The trace has no per-token ids, or the width of a token is missing.
    """
    if topology is None:
        return None
    if trace.tokens is None:
        raise ValueError("topology needs a trace with per-token ids, it has counts")
    if hidden is None:
        raise ValueError("hidden is missing, the width of a token, for topology")
    return Communication.from_routing(
        trace.tokens,
        topology,
        num_experts=trace.counts.shape[2],
        hidden=hidden,
        overlap=overlap,
    )
