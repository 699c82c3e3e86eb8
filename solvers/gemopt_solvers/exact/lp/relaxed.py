"""Branch and bound on the linear relaxation of one layer whose latencies are lines."""

from __future__ import annotations

import heapq
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gemopt.arrays import Ints
from gemopt.model.instance import Instance
from gemopt_solvers.exact.backend import Problem
from gemopt_solvers.exact.lp.relaxation import Lines, Nodes, root_tableau
from gemopt_solvers.exact.lp.simplex import GONE, reoptimise
from gemopt_solvers.exact.lp.strong_branching import Found, Search, descend
from gemopt_solvers.exact.rows.model import heavy_order, pieced
from gemopt_solvers.exact.rows.scaling import scaling_of

#: A placement counts as better if it is by this share; far above rounding.
TOLERANCE = 1e-9
_OPEN = 400  #: nodes that are opened best first before threads descend
_ROOT_PIVOTS = 5_000
MAX_CELLS = 60_000_000  #: numbers in the tableaus of a thread, half a GB


def too_large(instance: Instance) -> str | None:
    """Why a layer is not for this method; None if it is."""
    tables = instance.tables
    if pieced(instance).any() or (tables.power > 0).any():
        return "its latencies are no lines, or maxima of two; use cpsat"
    if instance.num_slots != instance.num_experts:
        return "it has replicas; use bnb or cpsat"
    if instance.comm is not None:
        return "it has communication, which this solver leaves out; use cpsat"
    experts, gpus, steps = instance.num_experts, instance.num_gpus, instance.num_steps
    wide, high = experts * gpus + steps, 2 * steps * gpus + gpus + experts
    cells = wide * high * (experts + 2)
    if cells > MAX_CELLS or gpus > 60:
        return (
            f"a layer needs tableaus of about {cells:.1e} numbers, more than "
            f"{MAX_CELLS:.0e}; use milp or search"
        )
    return None


def lines_of(problem: Problem, order: Ints) -> Lines:
    """Rows of the layer, as arrays; experts in the given order."""
    model, instance = problem.model, problem.instance
    weights, gpus = instance.weights, instance.num_gpus
    cost = np.zeros((len(model.times), instance.num_experts))
    gpu = np.zeros(len(model.times), dtype=np.int64)
    for q, row in enumerate(model.times):
        for variable, us in row.terms:
            expert, gpu[q] = divmod(variable, gpus)
            cost[q, expert] = us * weights[row.step]
    step = np.array([row.step for row in model.times], dtype=np.int64)
    base = np.array([row.constant for row in model.times])
    return Lines(
        cost=np.ascontiguousarray(cost[:, order]),
        base=base * weights[step],
        step=step,
        gpu=gpu,
        low=problem.bound * weights,
        slots=np.array(instance.slots, dtype=np.int64),
        kind=np.array(model.kinds.of_gpu, dtype=np.int64),
    )


class Relaxed:
    """Search one layer to the end, or until `halt` is set.

    Every node solves the linear relaxation by a dual simplex of its own tableau. Which
    expert to decide is found by trying (strong branching): the choices of the experts
    that promise most are solved, and what they were worth is remembered. Of GPUs that
    are alike and hold no decided expert, only the first is tried.

    Attributes
    ----------
    halt
        Set ``halt[0]`` to end.
    """

    def __init__(self, problem: Problem, hint: Ints) -> None:
        # Where nothing tells experts apart, the first is decided: the heaviest.
        self._order = heavy_order(problem.instance, problem.layer)
        self.lines = lines = lines_of(problem, self._order)
        experts, gpus = lines.cost.shape[1], len(lines.slots)
        scale = scaling_of(problem.model)
        # With whole tokens nothing lies between two costs.
        grain = np.array([0.999 * scale.us if scale.whole else 0.0, TOLERANCE])
        cost = problem.cost(hint)
        self.halt = np.zeros(1, dtype=np.int64)
        self._search = Search(
            limit=np.array([cost - max(grain[0], TOLERANCE * cost)]),
            grain=grain,
            best=np.full(experts, -1, dtype=np.int64),
            halt=self.halt,
            rise=np.zeros((experts, gpus)),
            trials=np.zeros((experts, gpus), dtype=np.int64),
        )
        self._open: dict[int, float] = {0: float(lines.low.sum())}
        self._root = root_tableau(lines)

    @property
    def phy2log(self) -> Ints | None:
        """The best placement found, expert by slot; None if none beats the hint."""
        if self._search.best[0] < 0:
            return None
        gpu = np.empty_like(self._order)
        gpu[self._order] = self._search.best
        return np.argsort(gpu, kind="stable")

    @property
    def bound(self) -> float:
        """What is proven so far, us."""
        # Nothing is left between the limit and the cost of the best placement.
        done = self._search.limit[0] + self._search.grain[0]
        return float(min([done, *list(self._open.values())]))

    def run(self, jobs: int) -> None:
        """Search with `jobs` threads."""
        root, lines, search = self._root, self.lines, self._search
        _, root.columns[0], _ = reoptimise(
            root.t[0],
            root.rows[0],
            root.columns[0],
            root.basic[0],
            root.column[0],
            root.state[0],
            np.inf,
            _ROOT_PIVOTS,
            root.price[0].size,
        )
        few, found = self._levels(2), _found(len(lines.slots), lines.cost.shape[1])
        number, heap = 0, [(self._open[0], 0, root.may[0], 0)]
        while heap and len(heap) < _OPEN and not self.halt[0]:
            bound, own, may, opened = heap[0]
            if bound >= search.limit[0]:
                break
            self._start(few, may, opened)
            many = descend(lines, few, search, found, 1)
            if self.halt[0]:
                break
            heapq.heappop(heap)
            for i in range(many):
                number += 1
                node = found.may[i].copy(), int(found.opened[i])
                heapq.heappush(heap, (float(found.bound[i]), number, *node))
                self._open[number] = float(found.bound[i])
            self._open.pop(own)
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(self._below, sorted(heap)))

    def _below(self, node: tuple[float, int, Ints, int]) -> None:
        """Search below an open node to the end."""
        bound, own, may, opened = node
        if self.halt[0]:
            return
        if bound < self._search.limit[0]:
            levels = self._levels(len(may) + 1)
            self._start(levels, may, opened)
            none = _found(1, len(may))
            descend(self.lines, levels, self._search, none, len(may) + 1)
        if not self.halt[0]:
            self._open.pop(own)

    def _levels(self, many: int) -> Nodes:
        """Room for `many` levels and the trials below them."""
        parts = [np.zeros((many + 1, *a.shape[1:]), a.dtype) for a in self._root]
        return Nodes(*parts)

    def _start(self, levels: Nodes, may: Ints, opened: int) -> None:
        """Put a node at level 0: the tableau of the root with what it may not do."""
        for own, root in zip(levels, self._root, strict=True):
            own[0] = root[0]
        levels.may[0], levels.opened[0] = may, opened
        experts, gpus = self.lines.cost.shape[1], len(self.lines.slots)
        shut = (may[:, None] >> np.arange(gpus)) & 1 == 0
        levels.state[0, : experts * gpus][shut.ravel()] = GONE


def _found(many: int, experts: int) -> Found:
    return Found(
        may=np.zeros((many, experts), dtype=np.int64),
        opened=np.zeros(many, dtype=np.int64),
        bound=np.zeros(many),
    )
