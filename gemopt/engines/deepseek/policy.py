"""DeepSeek EPLB's call: `rebalance_experts` with its signature and its three maps."""

from __future__ import annotations

import torch

from gemopt.serving.guard import guarded_place, report_once, window_steps
from gemopt.serving.place import deepseek_maps
from gemopt.serving.request import Request, as_loads
from gemopt.serving.slots import copies_of, log2phy_of


def rebalance_experts(
    weight: torch.Tensor,
    num_replicas: int,
    num_groups: int | None,
    num_nodes: int,
    num_gpus: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Drop-in for ``eplb.rebalance_experts`` of deepseek-ai/EPLB.

    Parameters
    ----------
    weight
        Load of each expert ``[layers, experts]``, any dtype and device.
    num_replicas
        Physical slots, a multiple of `num_gpus`.
    num_groups, num_nodes
        Groups of experts (None for none) and hosts; hierarchical where `num_nodes`
        divides `num_groups`.
    num_gpus
        Ranks.

    Returns
    -------
    tuple
        phy2log ``[layers, num_replicas]``, log2phy ``[layers, experts, most copies]``
        (-1 where unused) and logcnt ``[layers, experts]``, int64 on the CPU.

    Raises
    ------
    AssertionError
        Numbers that do not divide; nothing else is raised.
    """
    loads = as_loads(weight)[None]
    request = Request(
        loads,
        window_steps(),
        num_replicas,
        num_gpus,
        1 if num_groups is None else num_groups,
        num_nodes,
    )
    phy2log = guarded_place(request)
    log2phy, logcnt = None, copies_of(phy2log, request.num_experts)
    try:
        original, by_creation, _ = deepseek_maps(request)
        if (original == phy2log).all():
            log2phy = by_creation  # DeepSeek lists copies by order of creation
    except Exception as error:
        report_once(error)
    if log2phy is None:
        log2phy = log2phy_of(phy2log, request.num_experts)
    return torch.tensor(phy2log), torch.tensor(log2phy), torch.tensor(logcnt)
