"""A placement that settles hosts first: experts of the same tokens on one host."""

from __future__ import annotations

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.communication import Communication
from gemopt.model.instance import Instance
from gemopt.parts.capacitated import balanced, distances
from gemopt.parts.copies import replica_counts
from gemopt.parts.finishing_lines import fair_shares, finishing_lines
from gemopt.parts.repair import repaired

_ROUNDS = 8


def hierarchical_row(
    instance: Instance, comm: Communication, layer: int, rng: np.random.Generator
) -> Ints:
    """Place a layer: groups of affine experts to hosts, then loads to their GPUs.

    Groups start at random; in turn each expert's cost in a group is minus its mean
    affinity to the members, and experts are assigned anew at least cost, host slots
    full and host loads balanced (a k-means with capacities). Inside a host the largest
    share goes first, to the GPU that would finish first.

    Parameters
    ----------
    instance, comm
        The instance and its communication.
    layer
        Row of the layer.
    rng
        Draws the first groups.

    Returns
    -------
    numpy.ndarray
        Expert in each slot, int64 ``[slots]``, feasible.
    """
    load = instance.loads[layer] @ (instance.weights / instance.weights.sum())
    copies = replica_counts(load[None], instance.slots)[0]
    share = load / copies
    expert = np.repeat(np.arange(len(load)), copies)
    host = instance.gpu2node
    group = _host_of_copies(instance, comm, layer, copies, share, host, rng)
    base, slope = finishing_lines(instance, layer)
    row = np.empty(instance.num_slots, dtype=np.int64)
    for h in range(host.max() + 1):
        gpus = np.flatnonzero(host == h)
        mine = expert[group == h]
        held = _deal(mine, share, instance.slots[gpus], base[gpus], slope[gpus])
        row[np.isin(instance.slot2gpu, gpus)] = np.concatenate(held)
    return repaired(row[None], instance.slots, load[None])[0]


def _host_of_copies(
    instance: Instance,
    comm: Communication,
    layer: int,
    copies: Ints,
    share: np.ndarray,
    host: Ints,
    rng: np.random.Generator,
) -> Ints:
    hosts = int(host.max()) + 1
    room = np.bincount(host, weights=instance.slots).astype(np.int64)
    wanted = np.zeros(hosts)
    np.add.at(wanted, host, fair_shares(instance, layer))
    affinity = comm.pairs[layer].copy()
    np.fill_diagonal(affinity, 0.0)
    first = np.concatenate([[0], np.cumsum(copies)[:-1]])  # first copy of each expert
    group = rng.permutation(np.repeat(np.arange(hosts), room))
    for _ in range(_ROUNDS):
        cost = distances(affinity, group[first], hosts)
        new = balanced(cost, copies, room, share, wanted)
        if (new == group).all():
            break
        group = new
    return group


def _deal(
    experts: Ints, share: np.ndarray, room: Ints, base: np.ndarray, slope: np.ndarray
) -> list[list[int]]:
    """Experts of each GPU: largest share first, to the one that finishes first."""
    held: list[list[int]] = [[] for _ in room]
    left, tokens = room.copy(), np.zeros(len(room))
    for expert in experts[np.argsort(-share[experts], kind="stable")].tolist():
        finish = base + slope * (tokens + share[expert])
        has = np.array([expert in one for one in held])
        g = int(np.lexsort((finish, has, left == 0))[0])
        held[g].append(expert)
        left[g] -= 1
        tokens[g] += share[expert]
    return held
