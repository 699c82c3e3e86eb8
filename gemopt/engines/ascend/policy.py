"""vllm-ascend's policy object."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.parts.align import align
from gemopt.serving.config import config_from
from gemopt.serving.guard import attempt, guarded_place, last_resort, window_steps
from gemopt.serving.place import without_doubles
from gemopt.serving.request import (
    PolicyCallError,
    Request,
    as_array,
    as_loads,
    known_placement,
)
from gemopt.serving.slots import incoming


class GemoptAscendPolicy:
    """Takes the place of the policies that `PolicyFactory` of vllm-ascend makes.

    Parameters
    ----------
    config
        What older versions of the factory hand over; not used.
    """

    def __init__(self, config: object = None) -> None:
        self.config = config
        self._ranks: int | None = None

    def set_new_ep_size(self, new_ep_size: int) -> None:
        """Note the ranks after elastic scaling; the next call places for them."""
        self._ranks = new_ep_size

    def rebalance_experts(
        self, current_expert_table: torch.Tensor, expert_workload: torch.Tensor
    ) -> tuple[int, NDArray[np.int64], torch.Tensor]:
        """Place experts.

        Parameters
        ----------
        current_expert_table
            Expert of each slot, int64 ``[layers, ranks, slots of a rank]``.
        expert_workload
            Tokens of each *slot*: ``[layers, ranks, slots of a rank]``, or with a time
            axis ``[stages, layers, ranks, slots of a rank]``.

        Returns
        -------
        tuple
            1 if something changed, the layers by how much they changed, and the new
            table, int64 of the shape of the old one: no expert twice on a rank, and
            experts that stay on a rank keep their slots there.

        Raises
        ------
        AssertionError
            A workload that does not fit the table; nothing else is raised.
        """
        table = as_array(current_expert_table).astype(np.int64)
        work = as_loads(expert_workload)
        if work.ndim == table.ndim:
            work = work[None]
        if table.ndim != 3 or not table.size or work.shape[1:] != table.shape:
            raise PolicyCallError(
                f"expert_workload has shape {work.shape}, the table {table.shape}"
            )
        if not len(work):  # nothing was recorded yet
            work = np.zeros((1, *table.shape), dtype=np.int64)
        layers, ranks, local = table.shape
        new_ranks, self._ranks = self._ranks or ranks, None
        old = table.reshape(layers, -1)
        loads = _of_experts(work.reshape(len(work), layers, -1), old)
        experts = loads.shape[2]
        request = Request(
            loads,
            window_steps(),
            new_ranks * local,
            new_ranks,
            old=known_placement(old, layers, new_ranks * local, experts),
        )
        new = attempt(
            lambda: _without_doubles(guarded_place(request), request),
            lambda: last_resort(request),
        )
        change = (new != old).sum(axis=1) if new.shape == old.shape else np.ones(layers)
        priority = np.argsort(-change, kind="stable")
        placed = torch.tensor(new.reshape(layers, -1, local))
        return int(change.any()), priority, placed


def _of_experts(work: NDArray[Any], table: Ints) -> NDArray[Any]:
    """Add up the tokens of all slots of an expert ``[rows, layers, experts]``."""
    loads = np.zeros((*work.shape[:2], int(table.max()) + 1), dtype=work.dtype)
    row = np.arange(work.shape[0])[:, None, None]
    layer = np.arange(work.shape[1])[None, :, None]
    # Slots that are -1, after elastic scaling, hold no expert.
    np.add.at(loads, (row, layer, np.maximum(table, 0)[None]), work * (table >= 0))
    return loads


def _without_doubles(phy2log: Ints, request: Request) -> Ints:
    """Remove second copies of an expert on a rank, as far as the budget allows."""
    new = without_doubles(phy2log, request)
    if request.old is None:
        return new
    new = align(request.old, new, request.per_rank)
    budget = config_from().move_budget
    if budget is None:
        return new
    kept = phy2log.copy()
    left = budget - int(incoming(phy2log, request.old, request.ranks).sum())
    moved = incoming(new, request.old, request.ranks).sum(axis=1)
    more = moved - incoming(phy2log, request.old, request.ranks).sum(axis=1)
    for layer in np.flatnonzero((new != phy2log).any(axis=1)).tolist():
        if more[layer] <= left:
            left -= int(more[layer])
            kept[layer] = new[layer]
    return kept
