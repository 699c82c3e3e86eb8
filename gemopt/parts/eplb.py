"""DeepSeek's maps: replicate the most loaded experts, then pack them greedily.

Source: https://github.com/deepseek-ai/EPLB, bit for bit.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.arrays import Ints

Singles = NDArray[np.float32]


def eplb_phy2log(
    weight: ArrayLike, num_replicas: int, num_groups: int, num_nodes: int, num_gpus: int
) -> tuple[Ints, Ints, Ints]:
    """Place experts exactly as ``rebalance_experts`` of DeepSeek's EPLB does.

    The result may hold an expert twice on a GPU. Arithmetic is float32 as there, so
    weights above 2**24 lose their low bits. Equal weights are taken by rising index.
    DeepSeek leaves them to ``torch.sort``, which does the same up to 16 items and
    beyond that orders them as the processor likes: on weights with ties `phy2log` may
    differ, and always the order in which `log2phy` lists copies of one expert.

    Parameters
    ----------
    weight
        Load of each expert ``[layers, experts]``.
    num_replicas
        Physical slots of all GPUs, a multiple of `num_gpus`.
    num_groups, num_nodes
        Groups of experts and hosts; where `num_nodes` divides `num_groups` groups are
        packed to hosts first (hierarchical), else both count as 1 (global).
    num_gpus
        GPUs.

    Returns
    -------
    phy2log
        Expert of each slot, int64 ``[layers, num_replicas]``.
    log2phy
        Slots of each expert by order of creation, -1 where there is none, int64
        ``[layers, experts, most copies of any expert of any layer]``.
    logcnt
        Copies of each expert, int64 ``[layers, experts]``.

    Raises
    ------
    ValueError
        Numbers that do not divide, or fewer slots than experts.
    """
    load = np.asarray(weight).astype(np.float32)
    if num_groups % num_nodes:
        num_groups = num_nodes = 1
    _check_division(load, num_replicas, num_groups, num_nodes, num_gpus)
    phy2log, rank, logcnt = _hierarchical(
        load, num_replicas, num_groups, num_nodes, num_gpus
    )
    layers, experts = load.shape
    log2phy = np.full((layers, experts, logcnt.max()), -1, dtype=np.int64)
    log2phy[np.arange(layers)[:, None], phy2log, rank] = np.arange(num_replicas)
    return phy2log, log2phy, logcnt


def _hierarchical(
    load: Singles, num_replicas: int, num_groups: int, num_nodes: int, num_gpus: int
) -> tuple[Ints, Ints, Ints]:
    """Return (expert of each slot, rank of that copy, copies of each expert)."""
    layers, experts = load.shape
    per_host = experts // num_nodes

    # 1. Pack groups of experts to hosts; "mlog" numbers experts host by host.
    size = experts // num_groups
    group_load = load.reshape(layers, num_groups, size).sum(axis=2)
    first = _packed(group_load, num_nodes)[:, :, None] * size
    log2mlog = (first + np.arange(size)).reshape(layers, experts)
    mlog2log = _inverse(log2mlog)

    # 2. Replicate within each host.
    ordered = np.take_along_axis(load, mlog2log, axis=1)
    host_load: Singles = ordered.reshape(-1, per_host)
    phy2mlog, rank, copies = _replicated(host_load, num_replicas // num_nodes)

    # 3. Pack the copies of each host to its GPUs; "pphy" numbers slots GPU by GPU.
    share = np.divide(host_load, copies, dtype=np.float32)
    place = _packed(np.take_along_axis(share, phy2mlog, axis=1), num_gpus // num_nodes)
    pphy2phy = _inverse(place)
    host = np.tile(np.arange(num_nodes), layers)[:, None]
    pphy2mlog = np.take_along_axis(phy2mlog, pphy2phy, axis=1) + host * per_host
    return (
        np.take_along_axis(mlog2log, pphy2mlog.reshape(layers, -1), axis=1),
        np.take_along_axis(rank, pphy2phy, axis=1).reshape(layers, -1),
        np.take_along_axis(copies.reshape(layers, -1), log2mlog, axis=1),
    )


def _check_division(
    load: Singles, replicas: int, groups: int, nodes: int, gpus: int
) -> None:
    if load.ndim != 2 or load.size == 0:
        raise ValueError(f"weight has shape {load.shape}, needs [layers, experts]")
    experts = load.shape[1]
    for value, by, what in (
        (experts, groups, "experts by groups"),
        (gpus, nodes, "GPUs by nodes"),
        (replicas, gpus, "replicas by GPUs"),
    ):
        if value % by:
            raise ValueError(f"{what} do not divide: {value} by {by}")
    if replicas < experts:
        raise ValueError(f"num_replicas = {replicas} is less than {experts} experts")


def _packed(weight: Singles, packs: int) -> Ints:
    """Pack items to equally full packs, largest first to the lightest pack.

    Returns the place of each item, int64 ``[rows, items]``: ``pack * capacity`` plus
    its rank in the pack.
    """
    rows, items = weight.shape
    capacity = items // packs
    if capacity == 1:  # DeepSeek's shortcut: items stay where they are
        return np.tile(np.arange(items), (rows, 1))
    order = np.argsort(-weight, axis=1, kind="stable")
    ordered = np.take_along_axis(weight, order, axis=1)
    load = np.zeros((rows, packs), dtype=np.float32)
    filled = np.zeros((rows, packs), dtype=np.int64)
    place = np.empty((rows, items), dtype=np.int64)
    row = np.arange(rows)
    for i in range(items):
        pack = load.argmin(axis=1)
        count = filled[row, pack]
        place[row, order[:, i]] = pack * capacity + count
        filled[row, pack] = count + 1
        total = load[row, pack] + ordered[:, i]
        load[row, pack] = np.where(count + 1 == capacity, np.float32(np.inf), total)
    return place


def _replicated(weight: Singles, slots: int) -> tuple[Ints, Ints, Ints]:
    """Give each slot beyond one per expert to the largest load per copy.

    Returns (expert of each slot, rank of that copy, copies of each expert).
    """
    rows, experts = weight.shape
    phy2log = np.tile(np.arange(slots), (rows, 1))
    rank = np.zeros((rows, slots), dtype=np.int64)
    copies = np.ones((rows, experts), dtype=np.int64)
    share = weight.copy()
    row = np.arange(rows)
    for slot in range(experts, slots):
        chosen = share.argmax(axis=1)
        phy2log[:, slot] = chosen
        rank[:, slot] = copies[row, chosen]
        copies[row, chosen] += 1
        share[row, chosen] = weight[row, chosen] / copies[row, chosen].astype("f4")
    return phy2log, rank, copies


def _inverse(permutation: Ints) -> Ints:
    inverse = np.empty_like(permutation)
    np.put_along_axis(
        inverse, permutation, np.arange(permutation.shape[1])[None], axis=1
    )
    return inverse
