"""Swap descent of one layer on compute plus communication."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gemopt.arrays import Ints
from gemopt.cost.incremental import LayerState
from gemopt.cost.rates import GroupRates, rates
from gemopt.cost.traffic import links
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt_solvers.joint.kernels import (
    Groups,
    Traffic,
    descend_slot,
    fill_traffic,
    total_after,
)


def joint_descent(
    instance: Instance, layer: int, phy2log: Ints, *, sweeps: int = 50
) -> Iterator[tuple[Ints, float]]:
    """Improve one layer by swaps until none helps.

    Communication is estimated from the pair counts of the instance, as in
    `gemopt.cost.traffic.traffic` with ``exact=False``; under hosts of unequal size the
    sending side is left out.

    Parameters
    ----------
    instance
        With ``comm``.
    layer
        Row of the layer.
    phy2log
        Start, int64 ``[slots]``.
    sweeps
        Passes over all slots at most.

    Yields
    ------
    tuple
        Placement of the layer, int64 ``[slots]``, and its estimated objective in us,
        after each slot was tried.
    """
    comm = instance.comm
    if comm is None:
        raise ValueError(f"instance {instance.name!r} has no communication")
    state = LayerState(instance, layer, phy2log)
    traffic = layer_traffic(instance, comm, layer)
    fill_traffic(traffic, state.state)
    value = total_after(state.tables, state.state, traffic, 0, 0)
    yield state.phy2log, value
    for _ in range(sweeps):
        before = value
        for slot in range(instance.num_slots - 1):
            value = descend_slot(state.tables, state.state, traffic, slot, value)
            yield state.phy2log, value
        if value >= before:
            return


def layer_traffic(instance: Instance, comm: Communication, layer: int) -> Traffic:
    """Prepare the communication of one layer for the kernels."""
    link = links(instance.node, comm)
    hosts = int(link.node.max()) + 1
    share = comm.pairs[layer].copy()
    chosen = np.diagonal(share).copy()
    np.fill_diagonal(share, 0.0)
    per_token = rates(instance, comm)
    return Traffic(
        gpus=_groups(instance, instance.slot2gpu, instance.num_gpus, per_token.gpus),
        hosts=_groups(instance, link.node[instance.slot2gpu], hosts, per_token.hosts),
        share=share,
        chosen=chosen,
        top_k=comm.top_k,
        start_us=link.start_us,
        overlap=comm.overlap,
        hierarchical=link.hierarchical,
        scratch=np.zeros((6, instance.num_steps)),
    )


def _groups(
    instance: Instance, slot2group: Ints, count: int, per_token: GroupRates
) -> Groups:
    return Groups(
        slot2group=np.array(slot2group),
        picks=np.zeros(count),
        pair=np.zeros(count),
        ratio=np.ones(count),
        tokens=np.zeros((count, instance.num_steps)),
        near_us=per_token.near_us,
        far_us=per_token.far_us,
    )
