"""The decision behind every policy: DeepSeek's placement, or a search from profiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.cost.evaluate import evaluate
from gemopt.latency import LatencyModel, affine
from gemopt.latency.averaged import averaged
from gemopt.model.check import second_copies
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.align import align
from gemopt.parts.eplb import eplb_phy2log
from gemopt.parts.repair import repaired
from gemopt.run.registry import entry
from gemopt.run.solve import solve
from gemopt.run.solver import PlacesArrays
from gemopt.serving.config import PolicyConfig
from gemopt.serving.lines import lines_for
from gemopt.serving.request import Request, whole_loads
from gemopt.serving.slots import incoming, within_budget

log = logging.getLogger("gemopt.policies")

Floats = NDArray[np.float64]
FAST = "fast"
#: Cost in us of each layer of a placement, float64 ``[layers]``.
LayerCost = Callable[[Ints], Floats]


def place(request: Request, config: PolicyConfig) -> Ints:
    """Answer one call.

    Without a profile and without a time axis the answer is DeepSeek's placement, but
    no rank holds an expert twice unless `bit_for_bit` asks for that. Otherwise
    `search` looks for the least straggler latency. With an old placement, ranks that
    are alike take over what they hold already, experts that stay keep their slots, at
    most `move_budget` slots take a new expert, and the old placement stays if less
    than `min_gain` would be won.

    Returns
    -------
    numpy.ndarray
        Expert of each slot, int64 ``[layers, slots]``.
    """
    start = time.perf_counter()
    if request.old is not None and not request.loads.any():
        return request.old  # nothing has run yet
    models = config.latency(request.ranks)
    bounded = config.move_budget is not None and request.old is not None
    plain = models is None and len(request.loads) == 1 and not bounded
    plain = plain or not request.searchable
    if plain:
        new, cost = deepseek_placement(request), _fullest_rank(request)
        if not config.bit_for_bit:
            new = without_doubles(new, request)
    else:
        new, cost = _searched(request, models, config)
    if request.old is not None:
        new = align(request.old, new, request.per_rank)
        if not plain or config.move_budget is not None or config.min_gain > 0.0:
            new = _restrained(new, request.old, request.ranks, cost, config)
        log.info("gemopt: decided in %.3f s", time.perf_counter() - start)
    return new


def deepseek_placement(request: Request) -> Ints:
    """DeepSeek's answer to the loads summed over rows, int64 ``[layers, slots]``."""
    return deepseek_maps(request)[0]


def deepseek_maps(request: Request) -> tuple[Ints, Ints, Ints]:
    """DeepSeek's phy2log, log2phy and logcnt for the loads summed over rows."""
    return eplb_phy2log(
        request.loads.sum(axis=0),
        request.slots,
        request.groups,
        request.nodes,
        request.ranks,
    )


def without_doubles(phy2log: Ints, request: Request) -> Ints:
    """Give second copies of an expert on a rank to others, within each host.

    Ranks with more slots than experts of their host keep theirs.
    """
    hosts = _hosts(request)
    ranks, slots = request.ranks // hosts, request.slots // hosts
    rows = phy2log.reshape(-1, slots).copy()
    weight = request.loads.sum(axis=0).astype(np.float64)
    per_rank = request.per_rank[:ranks]
    wasted = second_copies(rows, per_rank).any(axis=1)
    for row in np.flatnonzero(wasted).tolist():
        experts, local = np.unique(rows[row], return_inverse=True)
        if len(experts) < per_rank[0]:
            continue
        load = weight[row // hosts, experts]
        fixed = repaired(local.reshape(1, -1), per_rank, load[None])
        rows[row] = experts[fixed[0]]
    return rows.reshape(phy2log.shape)


def _searched(
    request: Request, models: tuple[LatencyModel, ...] | None, config: PolicyConfig
) -> tuple[Ints, LayerCost]:
    counts, steps = whole_loads(request.loads, request.row_steps)
    latency = _latency(models, request.ranks, steps)
    instance = Instance.from_arrays(counts, latency, slots=request.per_rank)

    def cost(phy2log: Ints) -> Floats:
        return evaluate(instance, _feasible(phy2log, instance)).per_layer

    if _hosts(request) > 1:
        new = _by_host(request, instance, config)
    else:
        new = _solved(instance, request.old, config)
    if request.old is not None:
        host = np.arange(request.ranks) // (request.ranks // _hosts(request))
        alike = instance.gpu2class * request.nodes + host
        new = align(request.old, new, request.per_rank, groups=alike)
    return new, cost


def _latency(
    models: tuple[LatencyModel, ...] | None, ranks: int, steps: int
) -> tuple[LatencyModel, ...]:
    """Latency of each rank for tokens that `steps` steps add up."""
    if models is None:
        return (affine(0.0, 1.0),) * ranks
    cached = {model: averaged(model, steps) for model in set(models)}
    return tuple(cached[model] for model in models)


def _hosts(request: Request) -> int:
    return request.nodes if request.hierarchical else 1


def _solved(instance: Instance, old: Ints | None, config: PolicyConfig) -> Ints:
    """Search, from the old placement if moves are limited.

    The preset ``fast`` reads every latency as a line: one kernel call for all layers,
    and the moves go to the layers where they gain most.
    """
    budget = config.move_budget
    start = None
    if old is not None and budget is not None:
        start = _feasible(old, instance)
    params: dict[str, object] = {"preset": config.preset}
    if config.preset == FAST:
        base, rise = lines_for(instance.latency, instance.counts, instance.slots[0])
        solver = cast("type[PlacesArrays]", entry("search").load())
        return solver.place_arrays(
            instance.counts,
            instance.slots,
            base_us=base,
            us_per_token=rise,
            start=None if start is None else start.phy2log,
            max_moves=budget,
        )
    if budget is not None and start is not None:
        # An even share: the first moves of a layer gain most.
        params["max_moves"] = -(-budget // instance.num_layers)
    result = solve(instance, "search", start=start, params=params, trace=False)
    if result.placement is None:
        raise RuntimeError(f"no placement found: {result.summary()}")
    return result.placement.phy2log


def _by_host(request: Request, instance: Instance, config: PolicyConfig) -> Ints:
    """Deal groups of experts to hosts as DeepSeek does, then search in each host."""
    nodes = request.nodes
    ranks, slots = request.ranks // nodes, request.slots // nodes
    shape = (request.num_layers, nodes, slots)
    dealt = deepseek_placement(request).reshape(shape)
    new = np.empty(shape, dtype=np.int64)
    layers = np.arange(request.num_layers)[:, None]
    for node in range(nodes):
        experts = np.array([np.unique(row) for row in dealt[:, node]])
        here = slice(node * ranks, (node + 1) * ranks)
        part = Instance.from_arrays(
            instance.counts[:, layers, experts],
            instance.latency[here],
            slots=request.per_rank[here],
        )
        local = _solved(part, None, config)
        new[:, node] = np.take_along_axis(experts, local, axis=1)
    return new.reshape(request.num_layers, -1)


def _feasible(phy2log: Ints, instance: Instance) -> Placement:
    """As gemopt sees it: engines may hold an expert twice on a rank."""
    weight = instance.loads.sum(axis=2).astype(np.float64)
    return Placement(repaired(phy2log, instance.slots, weight), instance.slots)


def _fullest_rank(request: Request) -> LayerCost:
    """Cost: tokens of the fullest rank, a microsecond each."""
    loads = request.loads.sum(axis=0).astype(np.float64)
    layers = np.arange(request.num_layers)[:, None]

    def cost(phy2log: Ints) -> Floats:
        copies = np.zeros_like(loads)
        np.add.at(copies, (layers, phy2log), 1.0)
        share = (loads / copies)[layers, phy2log]
        return np.asarray(
            share.reshape(request.num_layers, request.ranks, -1).sum(axis=2).max(axis=1)
        )

    return cost


def _restrained(
    new: Ints, old: Ints, ranks: int, cost: LayerCost, config: PolicyConfig
) -> Ints:
    """Honour the move budget and the minimum gain; move nothing for no gain."""
    before, moves = cost(old), incoming(new, old, ranks).sum(axis=1)
    gain = before - cost(new)
    if config.move_budget is not None:
        chosen = within_budget(gain, moves, config.move_budget)
        kept = old.copy()
        kept[chosen] = new[chosen]
        new, gain, moves = kept, gain[chosen], moves[chosen]
    part = float(gain.sum() / before.sum()) if before.sum() > 0 else 0.0
    if part <= 0 or part < config.min_gain:
        log.info("gemopt: placement stays, %.2f %% could be gained", 100 * part)
        return old
    log.info(
        "gemopt: predicted straggler latency %.2f %% less, %d of %d slots take an "
        "expert new to their rank",
        100 * part,
        moves.sum(),
        new.size,
    )
    return new
