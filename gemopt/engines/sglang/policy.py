"""SGLang's call, which hands over the time axis, and the hook around it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt.serving.guard import guarded_place, report_once, window_steps
from gemopt.serving.request import Request, as_loads, known_placement
from gemopt.serving.slots import copies_of, log2phy_of

log = logging.getLogger("gemopt.policies")

#: Rows are added up to at most this many: more cost time and gain nothing.
MAX_ROWS = 64
_FLAT = ("deepseek", "deepseek_vec")
_LOCATION = "sglang.srt.eplb.expert_location"


def rebalance_experts(
    tokens_per_expert: torch.Tensor,
    num_physical_experts: int,
    num_local_physical_experts: int,
    num_groups: int | None,
    num_nodes: int,
    algorithm: object = None,
    *,
    old: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Drop-in for ``sglang.srt.eplb.eplb_algorithms.rebalance_experts``.

    Parameters
    ----------
    tokens_per_expert
        Tokens of each expert, ``[steps, layers, experts]``: SGLang's circular buffer
        as it is stored, in any order, unused rows zero; or ``[layers, experts]``.
    num_physical_experts, num_local_physical_experts
        Slots of all ranks and of one rank.
    num_groups, num_nodes
        Groups of experts (None for none) and hosts.
    algorithm
        SGLang's choice; ``deepseek`` and ``deepseek_vec`` ignore groups and hosts.
    old
        Expert of each slot now ``[layers, slots]``, if known.

    Returns
    -------
    tuple
        phy2log ``[layers, slots]``, log2phy ``[layers, experts, most copies]`` (-1
        where unused) and logcnt ``[layers, experts]``, int64 on the CPU.

    Raises
    ------
    AssertionError
        Numbers that do not divide; nothing else is raised.
    """
    loads, row_steps = windows(as_loads(tokens_per_expert))
    layers, experts = loads.shape[-2:]
    flat = str(getattr(algorithm, "name", algorithm)) in _FLAT
    request = Request(
        loads,
        row_steps,
        num_physical_experts,
        num_physical_experts // max(num_local_physical_experts, 1),
        1 if flat else num_groups or 1,
        1 if flat else num_nodes,
        known_placement(old, layers, num_physical_experts, experts),
    )
    phy2log = guarded_place(request)
    log2phy, logcnt = log2phy_of(phy2log, experts), copies_of(phy2log, experts)
    return torch.tensor(phy2log), torch.tensor(log2phy), torch.tensor(logcnt)


def around(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Hook for SGLang: our placement, or SGLang's own where we cannot give one.

    The elastic algorithms know which ranks are gone; they are left alone.
    """
    algorithm = kwargs.get("algorithm", args[5] if len(args) > 5 else None)
    if "elasticity" in str(getattr(algorithm, "name", algorithm)):
        return original(*args, **kwargs)
    try:
        return rebalance_experts(*args, **kwargs, old=_current_placement())
    except Exception as error:
        report_once(error)
        return original(*args, **kwargs)


def windows(tokens: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Drop unused rows and add up neighbours to at most `MAX_ROWS` rows.

    Returns
    -------
    tuple
        Loads ``[rows, layers, experts]`` and the steps in each row. Steps that fill
        no whole row are left out.
    """
    if tokens.ndim != 3:
        return tokens[None], window_steps()
    used = tokens[tokens.any(axis=(1, 2))]
    if len(used) == 0:
        return np.zeros((1, *tokens.shape[1:]), dtype=tokens.dtype), 1
    each = -(-len(used) // MAX_ROWS)
    rows = len(used) // each
    grouped = used[: rows * each].reshape(rows, each, *used.shape[1:])
    return np.asarray(grouped.sum(axis=1)), each


def _current_placement() -> torch.Tensor | None:
    """SGLang's map of this process, if it has one yet."""
    module = sys.modules.get(_LOCATION)
    try:
        metadata = module.get_global_expert_location_metadata() if module else None
        return metadata.physical_to_logical_map_cpu if metadata else None
    except Exception as error:  # not set up yet, or another version
        log.debug("gemopt: SGLang has no current placement: %s", error)
        return None
