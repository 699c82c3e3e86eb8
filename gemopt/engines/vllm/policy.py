"""vLLM's policy class, in the forms of vLLM 0.10 to 0.33."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from gemopt.arrays import Ints
from gemopt.parts.align import align
from gemopt.serving.guard import attempt, guarded_place, window_steps
from gemopt.serving.request import Request, as_loads, known_placement
from gemopt.serving.slots import copies_of, log2phy_of

_ABSTRACT = "vllm.distributed.eplb.policy.abstract"

Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class GemoptPolicy:
    """Takes the place of vLLM's `DefaultEplbPolicy`.

    vLLM calls it on every rank without a broadcast: the answer depends on the
    arguments and the options alone.
    """

    @classmethod
    def rebalance_experts(
        cls,
        weight: torch.Tensor,
        num_replicas: int,
        num_groups: int | None,
        num_nodes: int,
        num_ranks: int,
        old_global_expert_indices: torch.Tensor | None = None,
    ) -> Any:
        """Place experts.

        Parameters
        ----------
        weight
            Tokens of each expert, summed over vLLM's window ``[layers, experts]``.
        num_replicas
            Physical slots, a multiple of `num_ranks`.
        num_groups, num_nodes, num_ranks
            Groups of experts (None for none), hosts, ranks.
        old_global_expert_indices
            Expert of each slot now ``[layers, slots]``; may hold -1 or have another
            number of slots after elastic scaling, and then is not kept.

        Returns
        -------
        torch.Tensor or tuple
            phy2log, int64 on the CPU ``[layers, num_replicas]``; or (phy2log, log2phy,
            logcnt) where vLLM's abstract class announces a tuple.

        Raises
        ------
        AssertionError
            Numbers that do not divide; nothing else is raised.
        """
        loads = as_loads(weight)[None]
        layers, experts = loads.shape[-2:]
        old = known_placement(old_global_expert_indices, layers, num_replicas, experts)
        request = Request(
            loads,
            window_steps(),
            num_replicas,
            num_ranks,
            1 if num_groups is None else num_groups,
            num_nodes,
            old,
        )
        phy2log = guarded_place(request)
        if _announces_tuple():
            return tuple(m.to(weight.device) for m in _maps(phy2log, experts))
        return torch.tensor(phy2log)

    @staticmethod
    def preserve_intragpu_slots(
        phy2log: np.ndarray, num_ranks: int, old_phy2log: np.ndarray
    ) -> np.ndarray:
        """Reorder slots within each rank so that experts which stay keep theirs.

        Arrays of expert ids ``[layers, slots]``. Returned unchanged where slots do not
        divide by ranks or differ in number.
        """
        slots = phy2log.shape[1]
        if num_ranks < 1 or slots % num_ranks or phy2log.shape != old_phy2log.shape:
            return phy2log
        per_rank = np.full(num_ranks, slots // num_ranks)
        return attempt(lambda: align(old_phy2log, phy2log, per_rank), lambda: phy2log)


def rebalance_experts(
    weight: torch.Tensor,
    num_replicas: int,
    num_groups: int | None,
    num_nodes: int,
    num_gpus: int,
) -> Maps:
    """Function of vLLM up to 0.10 (``vllm.distributed.eplb.rebalance_algo``).

    Returns
    -------
    tuple
        phy2log ``[layers, slots]``, log2phy ``[layers, experts, slots - experts + 1]``
        and logcnt ``[layers, experts]``, int64 on the CPU.

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
    return _maps(guarded_place(request), request.num_experts)


def _maps(phy2log: Ints, experts: int) -> Maps:
    width = phy2log.shape[1] - experts + 1
    log2phy = log2phy_of(phy2log, experts, width)
    logcnt = copies_of(phy2log, experts)
    return torch.tensor(phy2log), torch.tensor(log2phy), torch.tensor(logcnt)


def _announces_tuple() -> bool:
    """Tell whether the vLLM in this process wants three maps."""
    module = sys.modules.get(_ABSTRACT)
    if module is None:
        return False
    method = module.AbstractEplbPolicy.rebalance_experts
    return str(method.__annotations__.get("return")).startswith("tuple")
