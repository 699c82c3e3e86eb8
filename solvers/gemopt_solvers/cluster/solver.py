"""The clustering-based placer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.cost.evaluate import layer_cost
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.parts.capacitated import balanced, capacitated, distances
from gemopt.parts.copies import replica_counts
from gemopt.parts.finishing_lines import fair_shares, finishing_lines
from gemopt.parts.repair import repaired
from gemopt.run.layers import BestRows, run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt.study.graph import co_load
from gemopt_solvers.cluster import groups as expert_groups
from gemopt_solvers.cluster.methods import METHODS
from gemopt_solvers.cluster.spread import deal

Mode = Literal["auto", "spread", "together", "both"]


@dataclass(frozen=True)
class ClusterParams:
    """Options of `Cluster`.

    Parameters
    ----------
    mode
        ``"spread"`` puts experts that burst together on different GPUs; ``"together"``
        puts experts that tokens choose together on one GPU, or on one host where there
        are several; ``"both"`` does the second for hosts (GPUs, if there is one host)
        while loads stay balanced, and the first inside a host. ``"auto"`` is ``both``
        when the instance has communication, else ``spread``.
    method
        ``"spectral"``, ``"agglomerative"``, ``"louvain"`` or ``"kernighan_lin"``.
    keep_groups
        Keep every group of experts that the instance declares (``n_group``) on one
        host, so that a token visits at most ``topk_group`` hosts; inside a host
        experts that burst together sit apart.
    """

    mode: Mode = "auto"
    method: str = "spectral"
    keep_groups: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            known = ", ".join(get_args(Mode))
            raise ValueError(f"mode = {self.mode!r} is unknown; known: {known}")
        if self.method not in METHODS:
            known = ", ".join(METHODS)
            raise ValueError(f"method = {self.method!r} is unknown; known: {known}")


class Cluster:
    """Balanced clusters of the expert graphs, dealt out over GPUs and hosts.

    Replicas are counted as in EPLB. ``together`` follows Occult and GRACE-MoE
    (arXiv 2509.25041) in grouping by co-activation; ``spread`` follows GEM (arXiv
    2605.19945) in keeping simultaneously busy experts apart. Groups respect slots by
    an assignment of least cost, and loads by prices.
    """

    name: ClassVar[str] = "cluster"
    summary: ClassVar[str] = "clusters of the co-load and co-activation graphs"
    exact: ClassVar[bool] = False
    Params = ClusterParams

    def __init__(self, params: ClusterParams) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """``together`` and ``both`` need the pair counts of a communication model."""
        if self.params.mode in ("together", "both") and instance.comm is None:
            return f"mode {self.params.mode!r} needs the instance's communication"
        return expert_groups.refusal(instance) if self.params.keep_groups else None

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Cluster every layer once; nothing is searched afterwards."""
        mean = instance.mean_loads
        copies = replica_counts(mean, instance.slots)
        bursts = co_load(instance).weight
        best = BestRows(instance)

        def work(layer: int, _round: int) -> Iterator[None]:
            load = mean[layer] / copies[layer]
            row = self._row(instance, layer, copies[layer], load, bursts[layer], seed)
            fixed = repaired(row[None], instance.slots, mean[layer][None])
            best.offer(layer, fixed[0], layer_cost(instance, layer, fixed[0]))
            yield

        reason = run_rounds(work, best, monitor=monitor, jobs=jobs, rounds=1)
        placement = None if np.isinf(best.objective).any() else best.placement
        stats = {"mode": self._mode(instance), "method": self.params.method}
        return Outcome(placement, reason, iterations=monitor.iteration, stats=stats)

    def _mode(self, instance: Instance) -> str:
        if self.params.mode != "auto":
            return self.params.mode
        return "spread" if instance.comm is None else "both"

    def _row(
        self,
        instance: Instance,
        layer: int,
        copies: Ints,
        load: Floats,
        bursts: Floats,
        seed: int,
    ) -> Ints:
        """Expert of each slot of a layer; an expert may sit on a GPU twice."""
        if self.params.keep_groups:
            return self._in_groups(instance, layer, copies, load, bursts, seed)
        mode = self._mode(instance)
        everywhere = np.arange(instance.num_gpus)
        if mode == "spread":
            return self._spread(instance, layer, copies, load, bursts, everywhere, seed)
        hosts = np.unique(instance.node)
        if mode == "together" or len(hosts) == 1:
            return self._together(instance, layer, copies, load, mode, seed)
        host = self._host_of_copies(instance, layer, copies, load, seed)
        expert = np.repeat(np.arange(len(copies)), copies)
        inside = np.zeros((len(hosts), len(copies)), dtype=np.int64)
        np.add.at(inside, (host, expert), 1)
        return self._inside(instance, layer, inside, load, bursts, seed)

    def _in_groups(
        self,
        instance: Instance,
        layer: int,
        copies: Ints,
        load: Floats,
        bursts: Floats,
        seed: int,
    ) -> Ints:
        """Expert of each slot, every declared group of experts on one host."""
        total = load * copies
        n_group = 1 if instance.comm is None else instance.comm.n_group
        inside = expert_groups.host_copies(instance, n_group, total)
        share = total / inside.sum(axis=0)
        row = self._inside(instance, layer, inside, share, bursts, seed)
        for host, held in zip(np.unique(instance.node), inside, strict=True):
            # A second copy on a GPU must not leave its host to be repaired.
            slots = instance.node[instance.slot2gpu] == host
            mine = np.flatnonzero(held)
            local = np.searchsorted(mine, row[slots])[None]
            room = instance.slots[instance.node == host]
            row[slots] = mine[repaired(local, room, total[None, mine])[0]]
        return row

    def _inside(
        self,
        instance: Instance,
        layer: int,
        copies: Ints,
        load: Floats,
        bursts: Floats,
        seed: int,
    ) -> Ints:
        """Expert of each slot, given the copies on each host ``[hosts, experts]``."""
        row = np.empty(instance.num_slots, dtype=np.int64)
        for host, inside in zip(np.unique(instance.node), copies, strict=True):
            members = np.flatnonzero(instance.node == host)
            slots = np.isin(instance.slot2gpu, members)
            row[slots] = self._spread(
                instance, layer, inside, load, bursts, members, seed
            )
        return row

    def _spread(
        self,
        instance: Instance,
        layer: int,
        copies: Ints,
        load: Floats,
        bursts: Floats,
        gpus: Ints,
        seed: int,
    ) -> Ints:
        """Experts of the slots of `gpus`, clusters of co-load dealt out."""
        used = np.flatnonzero(copies)
        clusters = max(1, -(-len(used) // len(gpus)))
        affinity = np.maximum(bursts[np.ix_(used, used)], 0.0)
        labels = np.zeros(len(used), dtype=np.int64)
        if 1 < clusters < len(used):
            labels = METHODS[self.params.method](affinity, clusters, seed)
        base, slope = finishing_lines(instance, layer)
        held = deal(
            labels,
            copies[used],
            load[used],
            instance.slots[gpus],
            base[gpus],
            slope[gpus],
        )
        return used[np.concatenate([np.array(part, np.int64) for part in held])]

    def _together(
        self,
        instance: Instance,
        layer: int,
        copies: Ints,
        load: Floats,
        mode: str,
        seed: int,
    ) -> Ints:
        """Experts of all slots, groups of co-activation on a GPU."""
        cost = self._distances(instance, layer, instance.num_gpus, seed)
        expert = np.repeat(np.arange(len(copies)), copies)
        if mode == "together":
            groups = capacitated(cost, copies, instance.slots)
        else:
            fair = fair_shares(instance, layer)
            groups = balanced(cost, copies, instance.slots, load, fair)
        return expert[np.argsort(groups, kind="stable")]

    def _host_of_copies(
        self, instance: Instance, layer: int, copies: Ints, load: Floats, seed: int
    ) -> Ints:
        """Host (numbered in order) of each copy, loads balanced by host speed."""
        hosts, number = np.unique(instance.node, return_inverse=True)
        capacity = np.bincount(number, weights=instance.slots).astype(np.int64)
        wanted: Floats = np.zeros(len(hosts))
        np.add.at(wanted, number, fair_shares(instance, layer))
        cost = self._distances(instance, layer, len(hosts), seed)
        return balanced(cost, copies, capacity, load, wanted)

    def _distances(
        self, instance: Instance, layer: int, groups: int, seed: int
    ) -> Floats:
        if instance.comm is None:
            raise ValueError(f"instance {instance.name!r} has no communication")
        affinity = instance.comm.pairs[layer].copy()
        np.fill_diagonal(affinity, 0.0)
        if not 1 < groups < len(affinity):
            return np.zeros((len(affinity), groups))
        labels = METHODS[self.params.method](affinity, groups, seed)
        return distances(affinity, labels, groups)
