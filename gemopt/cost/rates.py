"""What a token costs more for each further GPU, and host, that it must visit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gemopt.cost.traffic import Floats, links

if TYPE_CHECKING:
    from gemopt.model.communication import Communication
    from gemopt.model.instance import Instance


@dataclass(frozen=True)
class GroupRates:
    """Time that a token which needs a group adds to the step, us, by group of slots.

    Attributes
    ----------
    near_us, far_us
        On the links within a host and between hosts, float64 ``[groups]``.
    """

    near_us: Floats
    far_us: Floats


@dataclass(frozen=True)
class Rates:
    """Costs of GPUs and hosts as groups, and their means over a balanced step.

    Attributes
    ----------
    gpus, hosts
        By group; hosts count only under a hierarchical all-to-all.
    gpu_us, host_us
        Time that a step grows by when one token needs one GPU (host) more, in the mean
        over GPUs (hosts), us.
    """

    gpus: GroupRates
    hosts: GroupRates
    gpu_us: float
    host_us: float


def rates(instance: Instance, comm: Communication) -> Rates:
    """Rates of an instance whose tokens start evenly on all GPUs."""
    link = links(instance.node, comm)
    gpus = instance.num_gpus
    size = np.bincount(link.node)
    mates = size[link.node] - 1
    if link.hierarchical:
        relays = np.zeros(len(size))
        np.add.at(relays, link.node, 1.0 + link.relayed)
        near = (relays[link.node] - 1.0 - link.relayed) / gpus * link.intra_us
        far = np.zeros(gpus)
    else:
        near = mates / gpus * link.intra_us
        far = (gpus - 1 - mates) / gpus * link.inter_us
    busiest = np.zeros(len(size))
    np.maximum.at(busiest, link.node, link.relayed)
    between = busiest / gpus * link.inter_us
    return Rates(
        gpus=GroupRates(near, far),
        hosts=GroupRates(np.zeros(len(size)), between),
        gpu_us=float(max(near.mean(), far.mean())) / gpus,
        host_us=float(between.mean()) / len(size) if link.hierarchical else 0.0,
    )
