"""Time and traffic of the all-to-all under a placement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gemopt.model.expert_groups import on_one_host_each

if TYPE_CHECKING:
    from gemopt.model.communication import Communication
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Traffic:
    """Cost of dispatch and combine.

    Attributes
    ----------
    per_step
        Time of both phases, us ``[steps, layers]``.
    intra_tokens, inter_tokens
        Tokens sent within and between hosts, ``[steps, layers]``; each travels there
        and back.
    exact
        Counted from per-token ids; False means estimated from pair counts.
    """

    per_step: Floats
    intra_tokens: Floats
    inter_tokens: Floats
    exact: bool


@dataclass(frozen=True, eq=False)
class Links:
    """Numbers of the alpha-beta model that the kernels read."""

    node: Ints  # [gpus] hosts numbered from 0
    relay: Ints  # [nodes, gpus] GPU of a host that takes a sender's tokens
    relayed: Floats  # [gpus] senders of other hosts that each GPU relays for
    intra_us: float  # us of a token's round trip within a host
    inter_us: float  # us between hosts
    start_us: float  # us of starting both phases
    hierarchical: bool


def links(node: Ints, comm: Communication) -> Links:
    """Prepare the topology of `comm` for GPUs on hosts `node` ``[gpus]``."""
    hosts, number = np.unique(node, return_inverse=True)
    members = [np.flatnonzero(number == h) for h in range(len(hosts))]
    rank = np.array([int((number[:g] == number[g]).sum()) for g in range(len(node))])
    relay = np.stack([m[rank % len(m)] for m in members])
    far = number[None, :] != np.arange(len(hosts))[:, None]
    relayed = np.bincount(relay[far], minlength=len(node)).astype(np.float64)
    topology, several = comm.topology, len(hosts) > 1
    hierarchical = topology.hierarchical and several
    start = topology.inter.alpha_us if several else topology.intra.alpha_us
    if hierarchical:
        start += topology.intra.alpha_us
    return Links(
        node=number.astype(np.int64),
        relay=relay.astype(np.int64),
        relayed=relayed,
        intra_us=comm.round_trip_bytes * topology.intra.us_per_byte,
        inter_us=comm.round_trip_bytes * topology.inter.us_per_byte,
        start_us=2.0 * start if len(node) > 1 else 0.0,
        hierarchical=hierarchical,
    )


def traffic(
    instance: Instance, placement: Placement, *, exact: bool | None = None
) -> Traffic:
    """Cost of the all-to-all of every layer and step.

    Parameters
    ----------
    exact
        True counts every token (needs ``comm.routing``), False estimates from
        ``comm.pairs``, None counts where it can. Where every group of experts sits on
        one host, the estimate lets no token visit more than ``topk_group`` hosts.

    Raises
    ------
    ValueError
        The instance has no communication, or `exact` without per-token ids.
    """
    from gemopt.cost.traffic_kernels import volumes_us

    comm = instance.comm
    if comm is None:
        raise ValueError(f"instance {instance.name!r} has no communication to cost")
    if exact and comm.routing is None:
        raise ValueError("exact traffic needs per-token ids (comm.routing)")
    counted = comm.routing is not None if exact is None else exact
    link = links(instance.node, comm)
    steps, layers = instance.num_steps, instance.num_layers
    per_step, near, far = (np.zeros((steps, layers)) for _ in range(3))
    for layer in range(layers):
        volumes = (_counted if counted else _estimated)(
            instance, comm, placement, layer, link
        )
        out = np.empty(steps)
        volumes_us(
            volumes,
            link.intra_us,
            link.inter_us,
            link.start_us,
            link.hierarchical,
            out,
        )
        per_step[:, layer] = out
        near[:, layer] = volumes[0].sum(axis=0)
        far[:, layer] = volumes[2].sum(axis=0)
    return Traffic(per_step, near, far, counted)


def _counted(
    instance: Instance,
    comm: Communication,
    placement: Placement,
    layer: int,
    link: Links,
) -> Floats:
    from gemopt.cost.traffic_kernels import count_volumes

    routing = comm.routing
    if routing is None:
        raise ValueError("exact traffic needs per-token ids (comm.routing)")
    row = placement.phy2log[layer]
    copies = np.bincount(row, minlength=instance.num_experts)
    copy2gpu = np.zeros((instance.num_experts, int(copies.max())), dtype=np.int64)
    used = np.zeros(instance.num_experts, dtype=np.int64)
    for expert, gpu in zip(row, placement.slot2gpu, strict=True):
        copy2gpu[expert, used[expert]] = gpu
        used[expert] += 1
    volumes = np.empty((4, instance.num_gpus, instance.num_steps))
    count_volumes(
        routing.expert_ids[:, layer],
        np.repeat(np.arange(routing.num_steps), np.diff(routing.step_offsets)),
        routing.starts(instance.num_gpus),
        copies,
        copy2gpu,
        link.node,
        link.relay,
        link.hierarchical,
        volumes,
    )
    return volumes


def _estimated(
    instance: Instance,
    comm: Communication,
    placement: Placement,
    layer: int,
    link: Links,
) -> Floats:
    from gemopt.cost.traffic_kernels import estimate_volumes

    row, slot2gpu = placement.phy2log[layer], placement.slot2gpu
    hits = group_hits(instance, comm, layer, row, slot2gpu, instance.num_gpus)
    hosts = int(link.node.max()) + 1
    slot2host = link.node[slot2gpu]
    node_hits = group_hits(instance, comm, layer, row, slot2host, hosts)
    experts = instance.num_experts
    if comm.n_group > 1 and on_one_host_each(row, slot2host, comm.n_group, experts):
        tokens = instance.loads[layer].sum(axis=0) / comm.top_k
        visits = np.maximum(node_hits.sum(axis=0), 1e-12)
        node_hits = node_hits * np.minimum(1.0, comm.topk_group * tokens / visits)
    volumes = np.empty((4, instance.num_gpus, instance.num_steps))
    estimate_volumes(
        hits, node_hits, link.node, link.relayed, link.hierarchical, volumes
    )
    return volumes


def group_hits(
    instance: Instance,
    comm: Communication,
    layer: int,
    row: Ints,
    slot2group: Ints,
    groups: int,
) -> Floats:
    """Estimated tokens of each step that need each group of slots.

    A group's share of tokens over its share of picks is taken as constant over time.

    Returns
    -------
    numpy.ndarray
        Tokens, float64 ``[groups, steps]``.
    """
    from gemopt.cost.traffic_kernels import reach

    copies = np.bincount(row, minlength=instance.num_experts)
    member = np.zeros((groups, instance.num_experts))
    np.add.at(member, (slot2group, row), 1.0 / copies[row])
    share = comm.pairs[layer]
    chosen = np.diagonal(share)
    apart = share - np.diag(chosen)
    picks = member @ chosen
    pair = ((member @ apart) * member).sum(axis=1)
    distinct = np.array(
        [reach(p / comm.top_k, q, comm.top_k) for p, q in zip(picks, pair, strict=True)]
    )
    ratio = np.divide(distinct, picks, out=np.ones(groups), where=picks > 0)
    return np.asarray((member * ratio[:, None]) @ instance.loads[layer])
