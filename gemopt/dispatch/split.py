"""The best split of every step of a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gemopt.arrays import Floats, Ints

if TYPE_CHECKING:
    from gemopt.dispatch.load_kernels import Replicas
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement


class Split(NamedTuple):
    """Where the tokens of one layer go, step by step."""

    shares: Floats  # [slots, steps] tokens
    tokens: Floats  # [gpus, steps]
    latency: Floats  # [gpus, steps] us


def split_layer(instance: Instance, placement: Placement, layer: int) -> Split:
    """Divide the tokens of one layer over the slots by the best split of each step.

    Parameters
    ----------
    instance, placement
        A placement that is feasible for the instance.
    layer
        Which layer, counted from 0.

    Returns
    -------
    Split
        Tokens of every slot, and tokens and latency of every GPU. No step is slower
        than under the even split, or than with all tokens of each expert at one
        replica.
    """
    from gemopt.dispatch.split_kernels import best_splits_into

    steps = instance.num_steps
    split = Split(
        np.empty((placement.num_slots, steps)),
        np.empty((instance.num_gpus, steps)),
        np.empty((instance.num_gpus, steps)),
    )
    best_splits_into(
        instance.tables,
        replicas_of(placement.phy2log[layer], placement.slots, instance.num_experts),
        instance.loads[layer],
        split.shares,
        split.latency,
        split.tokens,
    )
    return split


def replicas_of(phy2log: Ints, slots: Ints, num_experts: int) -> Replicas:
    """Index the slots of one layer ``[slots]`` by expert and by GPU ``[gpus]``."""
    from gemopt.dispatch.load_kernels import Replicas
    from gemopt.model.placement import slot_owner

    copies = np.bincount(phy2log, minlength=num_experts)
    return Replicas(
        slot2gpu=slot_owner(slots),
        slot2expert=np.ascontiguousarray(phy2log, dtype=np.int64),
        first_copy=np.concatenate([[0], np.cumsum(copies)]).astype(np.int64),
        copy2slot=np.argsort(phy2log, kind="stable").astype(np.int64),
        first_slot=np.concatenate([[0], np.cumsum(slots)]).astype(np.int64),
        replicated=np.flatnonzero(copies > 1).astype(np.int64),
    )
