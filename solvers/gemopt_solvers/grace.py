"""A GRACE-MoE-like baseline: groups of affine experts, hot ones replicated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.model.instance import Instance
from gemopt.parts.capacitated import capacitated, distances
from gemopt.parts.repair import EMPTY, repaired
from gemopt.run.bases import Rounds, offer_row
from gemopt.run.layers import BestRows, Work
from gemopt_solvers.cluster.methods import spectral


class Grace(Rounds):
    """Experts that tokens choose together on one host, then on one GPU.

    As in the paper: groups follow affinity alone, hosts first and then the GPUs of
    each; slots beyond one per expert go to the hot experts of the most loaded GPU, on
    the least loaded ones.

    Not as in the paper: only its abstract was at hand, so details are ours. Groups are
    spectral clusters brought to the size of the slots, where the paper lets sizes
    differ within limits; replicas share their load evenly, where the paper prefers the
    nearest replica and predicts loads; GPU speeds are unknown to both.

    References
    ----------
    Han et al., GRACE-MoE: Grouping and Replication with Locality-Aware Routing for
    Efficient Distributed MoE Inference, arXiv 2509.25041.
    """

    name: ClassVar[str] = "grace"
    summary: ClassVar[str] = "groups by affinity, hot experts copied (GRACE-MoE-like)"

    def supports(self, instance: Instance) -> str | None:
        """Affinity needs the pair counts of a communication model."""
        if instance.comm is None:
            return "affinity of experts needs the instance's communication"
        return None

    def work(self, instance: Instance, best: BestRows, seed: int) -> Work:
        """Group every layer once; nothing is searched afterwards."""
        comm = instance.comm
        if comm is None:
            raise ValueError(f"instance {instance.name!r} has no communication")
        mean = instance.mean_loads

        def group(layer: int, _round: int) -> Iterator[None]:
            affinity = comm.pairs[layer].copy()
            np.fill_diagonal(affinity, 0.0)
            expert2gpu = grouped(affinity, instance, seed)
            row = replicated(expert2gpu, mean[layer], instance.slots)
            fixed = repaired(row[None], instance.slots, mean[layer][None])
            offer_row(best, instance, layer, fixed[0])
            yield

        return group


def grouped(affinity: Floats, instance: Instance, seed: int) -> Ints:
    """GPU of each expert, int64 ``[experts]``: affine ones share a host, then a GPU.

    Parameters
    ----------
    affinity
        Share of tokens that chose both, float64 ``[experts, experts]``, diagonal 0.
    instance
        Its GPUs, slots and hosts; slots beyond one per expert stay free everywhere in
        proportion.
    seed
        Seed of the clusters.
    """
    room = primary_slots(instance.slots, len(affinity))
    hosts, host = np.unique(instance.node, return_inverse=True)
    per_host = np.bincount(host, weights=room).astype(np.int64)
    expert2host = _split(affinity, per_host, seed)
    expert2gpu = np.zeros(len(affinity), dtype=np.int64)
    for h in range(len(hosts)):
        experts = np.flatnonzero(expert2host == h)
        gpus = np.flatnonzero(host == h)
        inside = _split(affinity[np.ix_(experts, experts)], room[gpus], seed)
        expert2gpu[experts] = gpus[inside]
    return expert2gpu


def primary_slots(slots: Ints, experts: int) -> Ints:
    """Slots of each GPU for first copies, `experts` in all, ``[gpus]``."""
    exact = slots * experts / slots.sum()
    room = np.floor(exact).astype(np.int64)
    order = np.argsort(room - exact, kind="stable")
    room[order[: experts - int(room.sum())]] += 1
    return room


def _split(affinity: Floats, room: Ints, seed: int) -> Ints:
    """Group of each expert, groups filled; as many experts as room in all."""
    groups, experts = len(room), len(affinity)
    cost = np.zeros((experts, groups))
    if 1 < groups < experts:
        cost = distances(affinity, spectral(affinity, groups, seed), groups)
    return capacitated(cost, np.ones(experts, dtype=np.int64), room)


def replicated(expert2gpu: Ints, load: Floats, slots: Ints) -> Ints:
    """Expert of each slot: free slots take hot experts of the most loaded GPU.

    Parameters
    ----------
    expert2gpu
        GPU of the first copy of each expert, int64 ``[experts]``.
    load
        Mean tokens of each expert, float64 ``[experts]``.
    slots
        Slots of each GPU, int64 ``[gpus]``.

    Returns
    -------
    numpy.ndarray
        int64 ``[slots]``; a slot that no GPU's expert may take is `EMPTY`.
    """
    gpus = len(slots)
    held = np.zeros((len(load), gpus), dtype=bool)
    held[np.arange(len(load)), expert2gpu] = True
    while (free := held.sum(axis=0) < slots).any():
        share = load / held.sum(axis=1)
        tokens = held.T @ share
        choice = _replica(held, share, tokens, free)
        if choice is None:
            break
        held[choice] = True
    rows = []
    for g in range(gpus):
        mine = np.flatnonzero(held[:, g])
        rows.append(np.append(mine, np.full(slots[g] - len(mine), EMPTY)))
    return np.concatenate(rows)


def _replica(
    held: np.ndarray, share: Floats, tokens: Floats, free: np.ndarray
) -> tuple[int, int] | None:
    """Next copy (expert, GPU): hottest of the most loaded GPU, to the least loaded."""
    for full in np.argsort(-tokens, kind="stable"):
        mine = np.flatnonzero(held[:, full])
        for expert in mine[np.argsort(-share[mine], kind="stable")]:
            able = np.flatnonzero(free & ~held[expert])
            if len(able):
                return int(expert), int(able[tokens[able].argmin()])
    return None
