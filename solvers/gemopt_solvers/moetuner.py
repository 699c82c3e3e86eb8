"""A MoETuner-like baseline: integer programs on load and traffic, in two stages."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gemopt.arrays import Floats, Ints
from gemopt.cost.evaluate import layer_cost
from gemopt.cost.rates import Rates, rates
from gemopt.model.instance import Instance
from gemopt.model.pairs import PairCounter
from gemopt.model.placement import Placement
from gemopt.run.layers import BestRows, run_rounds
from gemopt.run.progress import Monitor
from gemopt.run.solver import Outcome
from gemopt_solvers.watch import polled

MAX_PRODUCTS = 200_000  #: pairs of experts times clusters that stage 1 may have
_WHOLE = 1e6  #: whole units of an objective, about
#: Load of the fullest cluster, in fair loads, against the part of pairs kept together.
#: Weighing both by their measured times instead let loads drift apart and cost more.
_BALANCE = 8


@dataclass(frozen=True)
class MoetunerParams:
    """Options of `Moetuner`.

    Parameters
    ----------
    work
        Work of CP-SAT on each layer and stage, in its deterministic seconds: the same
        answer on every machine.
    """

    work: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.work < np.inf:
            raise ValueError(f"work = {self.work} must be a number > 0")


class Moetuner:
    """Experts to clusters, then clusters to GPUs, each by an integer program.

    As in the paper: stage 1 groups the experts of a layer into one cluster a GPU and
    weighs the largest mean load of a cluster against traffic; stage 2 gives clusters
    to GPUs and weighs what tokens travel from a layer to the next one, over near links
    within a host and far ones between hosts.

    Not as in the paper: only its abstract was at hand, so the two programs are ours.
    CP-SAT stands for Gurobi, and stops after a set amount of work. Stage 2 goes layer
    by layer, each given the one before, not over all layers at once. Here a token
    returns to its own GPU after every layer, so pairs of experts that the same token
    chooses in a layer count too; without communication only loads count. Of the two
    stages the better row is kept in each layer. GPU speeds are unknown to it, as to
    the paper, and experts are not replicated.

    References
    ----------
    Go and Mahajan, MoETuner: Optimized Mixture of Expert Serving with Balanced Expert
    Placement and Token Routing, arXiv 2502.06643.
    """

    name: ClassVar[str] = "moetuner"
    summary: ClassVar[str] = "two integer programs on load and traffic (MoETuner-like)"
    exact: ClassVar[bool] = False
    Params = MoetunerParams

    def __init__(self, params: MoetunerParams) -> None:
        self.params = params

    def supports(self, instance: Instance) -> str | None:
        """Refuse replicas, and programs that are too large, with their size."""
        experts, slots = instance.num_experts, instance.num_slots
        if slots > experts:
            return f"{slots} slots for {experts} experts, but it places no replicas"
        products = experts * (experts - 1) // 2 * instance.num_gpus
        if products > MAX_PRODUCTS:
            return (
                f"a layer needs {products} products of variables, more than "
                f"{MAX_PRODUCTS}; use the solver search, or cluster"
            )
        return None

    def solve(
        self,
        instance: Instance,
        *,
        monitor: Monitor,
        seed: int,
        start: Placement | None,
        jobs: int,
    ) -> Outcome:
        """Stage 1 on every layer is one iteration, stage 2 the next one."""
        best = BestRows(instance)
        first = BestRows(instance)
        follow = _next_layer(instance)

        def work(layer: int, stage: int) -> Iterator[None]:
            if stage == 0:
                clusters = yield from self._clusters(instance, layer, seed)
                first.phy2log[layer] = clusters
                _offer(best, instance, layer, clusters)
                return
            if layer > 0:  # each layer needs the one before: the first does them all
                return
            before: Ints | None = None
            for each in range(instance.num_layers):
                traffic = None if before is None else follow[each - 1]
                before = yield from self._assigned(
                    instance, each, first.phy2log[each], before, traffic, seed
                )
                _offer(best, instance, each, before)

        reason = run_rounds(work, best, monitor=monitor, jobs=jobs, rounds=2)
        placement = None if np.isinf(best.objective).any() else best.placement
        return Outcome(placement, reason, iterations=monitor.iteration)

    def _clusters(
        self, instance: Instance, layer: int, seed: int
    ) -> Generator[None, None, Ints]:
        """Stage 1: experts in slot order, one cluster for each GPU."""
        from ortools.sat.python import cp_model

        load = instance.loads[layer] @ (instance.weights / instance.weights.sum())
        hint = _largest_first(load, instance.slots)
        saved = _saved(instance, layer, load)[0]
        unit = _WHOLE / max(np.triu(saved, 1).sum(), 1e-9)
        fair = max(load.sum() / instance.num_gpus, 1e-9)
        cost = np.rint(load * (_WHOLE / fair)).astype(np.int64)
        cp = cp_model.CpModel()
        there = _assignment(cp, instance.num_experts, instance.num_gpus, instance.slots)
        longest = cp.new_int_var(0, int(cost.sum()), "")
        for c in range(instance.num_gpus):
            held = sum(int(w) * row[c] for w, row in zip(cost, there, strict=True))
            cp.add(held <= longest)
        gain = _together(cp, there, np.rint(saved * unit), hint)
        cp.add_hint(longest, int(np.bincount(hint, weights=cost).max()))
        cp.minimize(_BALANCE * longest - gain)
        for e, row in enumerate(there):
            for c, variable in enumerate(row):
                cp.add_hint(variable, bool(hint[e] == c))
        group = yield from self._solved(cp, there, hint, seed)
        return np.argsort(group, kind="stable")

    def _assigned(
        self,
        instance: Instance,
        layer: int,
        row: Ints,
        before: Ints | None,
        follow: Floats | None,
        seed: int,
    ) -> Generator[None, None, Ints]:
        """Stage 2: experts in slot order once clusters have their GPUs."""
        from ortools.sat.python import cp_model

        gpus, owner = instance.num_gpus, instance.slot2gpu
        host = instance.gpu2node
        load = instance.loads[layer] @ (instance.weights / instance.weights.sum())
        member = np.zeros((gpus, instance.num_experts))
        member[owner, row] = 1.0
        pairs = member @ _saved(instance, layer, load)[1] @ member.T
        travel = np.zeros((gpus, gpus))
        if before is not None and follow is not None:
            held = np.zeros_like(member)
            held[owner, before] = 1.0
            travel = _distance(instance) @ (held @ follow @ member.T)
        total = max(np.triu(pairs, 1).sum() + travel.sum(), 1e-9)
        cp = cp_model.CpModel()
        there = _assignment(cp, gpus, gpus, np.ones(gpus, dtype=np.int64))
        for c, g in np.argwhere(instance.slots[:, None] != instance.slots[None, :]):
            cp.add(there[c][g] == 0)
        on_host = [[cp.new_bool_var("") for _ in range(host.max() + 1)] for _ in there]
        for c in range(gpus):
            for h, variable in enumerate(on_host[c]):
                cp.add(variable == sum(there[c][g] for g in np.flatnonzero(host == h)))
        far = np.rint(travel * (_WHOLE / total)).astype(np.int64)
        moved = sum(
            int(far[g, c]) * there[c][g] for c in range(gpus) for g in range(gpus)
        )
        cp.minimize(
            moved - _together(cp, on_host, np.rint(pairs * (_WHOLE / total)), host)
        )
        hint = np.arange(gpus)
        for c in range(gpus):
            for g in range(gpus):
                cp.add_hint(there[c][g], c == g)
        cluster2gpu = yield from self._solved(cp, there, hint, seed)
        parts = np.split(row, np.cumsum(instance.slots)[:-1])
        return np.concatenate([parts[c] for c in np.argsort(cluster2gpu)])

    def _solved(
        self, cp: Any, there: list[list[Any]], hint: Ints, seed: int
    ) -> Generator[None, None, Ints]:
        """Group of each item after the set amount of work; the hint if none."""
        from ortools.sat.python import cp_model

        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.catch_sigint_signal = False  # Ctrl-C is ours
        solver.parameters.random_seed = seed % 2**31
        solver.parameters.max_deterministic_time = self.params.work
        status = yield from polled(lambda: solver.solve(cp), solver.stop_search)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return hint
        chosen = [[solver.value(v) for v in row] for row in there]
        return np.argmax(np.array(chosen), axis=1)


def _offer(best: BestRows, instance: Instance, layer: int, row: Ints) -> None:
    best.offer(layer, row, layer_cost(instance, layer, row))


def _assignment(cp: Any, items: int, groups: int, room: Ints) -> list[list[Any]]:
    """0-1 variables ``[items][groups]``: one group an item, groups full."""
    there = [[cp.new_bool_var("") for _ in range(groups)] for _ in range(items)]
    for row in there:
        cp.add_exactly_one(row)
    for c in range(groups):
        cp.add(sum(row[c] for row in there) == int(room[c]))
    return there


def _together(cp: Any, there: list[list[Any]], gain: Floats, hint: Ints) -> Any:
    """Sum of the gains of pairs of items in one group, which is to grow."""
    terms = []
    for i, j in np.argwhere(np.triu(gain, 1) > 0):
        for c, (first, second) in enumerate(zip(there[i], there[j], strict=True)):
            both = cp.new_bool_var("")
            cp.add_hint(both, bool(hint[i] == c == hint[j]))
            cp.add_implication(both, first)
            cp.add_implication(both, second)
            terms.append(int(gain[i, j]) * both)
    return sum(terms)


def _saved(instance: Instance, layer: int, load: Floats) -> tuple[Floats, Floats]:
    """What a pair saves on one GPU and on one host, us a step ``[experts, experts]``.

    To first order a token needs one GPU less for each pair of its experts on one.
    """
    experts = instance.num_experts
    if instance.comm is None:
        return np.zeros((experts, experts)), np.zeros((experts, experts))
    per_token: Rates = rates(instance, instance.comm)
    pairs = instance.comm.pairs[layer].copy()
    np.fill_diagonal(pairs, 0.0)
    tokens = load.sum() / instance.comm.top_k
    return pairs * tokens * per_token.gpu_us, pairs * tokens * per_token.host_us


def _distance(instance: Instance) -> Floats:
    """Time of a token from GPU to GPU, spread over all GPUs, us ``[gpus, gpus]``."""
    comm = instance.comm
    if comm is None:
        return np.zeros((instance.num_gpus, instance.num_gpus))
    near, far = comm.topology.intra.us_per_byte, comm.topology.inter.us_per_byte
    same = instance.node[:, None] == instance.node[None, :]
    cost = np.where(same, near, far) * comm.round_trip_bytes / instance.num_gpus
    np.fill_diagonal(cost, 0.0)
    return np.asarray(cost)


def _next_layer(instance: Instance) -> Floats:
    """Tokens a step from expert to expert of the next layer, zeros without ids."""
    comm = instance.comm
    layers, experts = instance.num_layers, instance.num_experts
    if comm is None or comm.routing is None:
        return np.zeros((max(layers - 1, 0), experts, experts))
    counter = PairCounter(layers, experts, between_layers=True)
    counter.add(comm.routing.expert_ids)
    return counter.next_layer / (comm.routing.num_steps * comm.top_k)


def _largest_first(load: Floats, room: Ints) -> Ints:
    """Cluster of each expert: largest first to the least loaded with room."""
    group = np.zeros(len(load), dtype=np.int64)
    held, left = np.zeros(len(room)), room.copy()
    for e in np.argsort(-load, kind="stable"):
        c = int(np.where(left > 0, held, np.inf).argmin())
        group[e] = c
        held[c] += load[e]
        left[c] -= 1
    return group
