"""Expert groups of a group-limited router kept together: each on one host."""

from __future__ import annotations

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.model.instance import Instance
from gemopt.parts.copies import replica_counts


def refusal(instance: Instance) -> str | None:
    """Why groups cannot be kept on hosts, or None if they can."""
    comm = instance.comm
    if comm is None or comm.n_group == 1:
        return "keep_groups needs an instance that declares n_group"
    hosts = instance.num_nodes
    if comm.n_group % hosts:
        return f"n_group = {comm.n_group} cannot be shared out over {hosts} hosts"
    room = _host_slots(instance)
    needed = instance.num_experts // hosts
    if (room < needed).any():
        return (
            f"a host has {int(room.min())} slots, but keep_groups gives it "
            f"{needed} experts"
        )
    return None


def host_copies(instance: Instance, n_group: int, load: Floats) -> Ints:
    """Copies of each expert on each host, int64 ``[hosts, experts]``.

    Groups go to hosts by falling load, to the least loaded host with fewest groups;
    every host holds as many, as in DeepSeek's hierarchical EPLB. Further slots of a
    host go to copies of its own experts.

    Parameters
    ----------
    instance, n_group
        The instance, and groups of consecutive experts.
    load
        Mean tokens of each expert, float64 ``[experts]``.
    """
    hosts, number = np.unique(instance.node, return_inverse=True)
    size = len(load) // n_group
    group_load = load.reshape(n_group, size).sum(axis=1)
    held, left = np.zeros(len(hosts)), np.full(len(hosts), n_group // len(hosts))
    copies = np.zeros((len(hosts), len(load)), dtype=np.int64)
    for group in np.argsort(-group_load, kind="stable"):
        host = int(np.where(left > 0, held, np.inf).argmin())
        held[host] += group_load[group]
        left[host] -= 1
        copies[host, group * size : (group + 1) * size] = 1
    for host in range(len(hosts)):
        mine = np.flatnonzero(copies[host])
        slots = instance.slots[number == host]
        copies[host, mine] = replica_counts(load[None, mine], slots)[0]
    return copies


def _host_slots(instance: Instance) -> Ints:
    number = instance.gpu2node
    return np.bincount(number, weights=instance.slots).astype(np.int64)
