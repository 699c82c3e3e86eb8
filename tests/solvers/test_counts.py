"""Columns and bounds of the search over numbers of copies, on all placements."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gemopt import Instance, Placement, evaluate
from gemopt.arrays import Ints
from gemopt.latency import affine
from gemopt_solvers.exact.copies.columns import Columns
from gemopt_solvers.exact.copies.counts import CountTree, Node
from gemopt_solvers.exact.sets.branching import Branching
from tests.bounds.test_bounds import same_gpus
from tests.brute_force import feasible_rows
from tests.strategies import instances, random_placement

Row = tuple[tuple[int, ...], ...]
TINY = {"max_experts": 4, "max_gpus": 3, "max_layers": 1, "max_steps": 4}


class Case:
    """A tiny layer with replicas, all its placements, and the search at a limit."""

    def __init__(self, instance: Instance, share: float) -> None:
        self.instance = instance
        rows = list(feasible_rows(instance.num_experts, instance.slots))
        runs = [evaluate(instance, self.placement(row)) for row in rows]
        costs = np.array([run.objective for run in runs])
        # Just above a placement, which no bound may then exceed by more than this.
        cost = float(np.quantile(costs, share, method="nearest"))
        self.limit = cost * (1 + 1e-6) + 1e-9
        self.below = [
            (row, run.per_step[:, 0] * instance.weights, run.objective)
            for row, run in zip(rows, runs, strict=True)
            if run.objective < self.limit * (1 - 1e-8) - 1e-10
        ]
        # The incumbent is the worst placement: the limit of the search is set by hand.
        worst = self.placement(rows[int(costs.argmax())])
        self.search = Branching(instance, 0, worst.phy2log[0])
        self.search._limit[0] = self.limit
        self.tree, self.low = self.search.tree()
        self.used = np.flatnonzero(instance.weights > 0)

    def placement(self, row: Row) -> Placement:
        """The placement of a row of `feasible_rows`."""
        experts = [e for held in row for e in held]
        return Placement(np.array([experts], dtype=np.int64), self.instance.slots)

    def copies(self, row: Row) -> Ints:
        """Copies of the experts in the order in which they are decided."""
        return self.placement(row).replicas(self.instance.num_experts)[0][
            self.search._order
        ]

    def columns_of(self, row: Row) -> list[int]:
        """Numbers of the columns of a placement; fails when one is missing."""
        columns, copies = self.tree.columns, self.copies(row)
        rank = np.argsort(self.search._order)
        kinds = self.instance.classes.of_gpu
        found = []
        for kind, held in zip(kinds.tolist(), row, strict=True):
            if held:
                own = np.zeros_like(copies)
                own[rank[list(held)]] = copies[rank[list(held)]]
                same = (columns.kind == kind) & (columns.copies == own).all(axis=1)
                assert same.sum() == 1
                found.append(int(np.flatnonzero(same)[0]))
        return found


@st.composite
def cases(draw: st.DrawFn, shares: tuple[float, ...] = (0.0, 0.1, 0.5, 1.0)) -> Case:
    """Layers of every family, GPUs equal or not."""
    instance = draw(instances(**TINY, max_extra=3))
    assume(instance.num_slots > instance.num_experts)
    if draw(st.booleans()):
        instance = same_gpus(instance)
    return Case(instance, draw(st.sampled_from(shares)))


@settings(max_examples=60)
@given(cases())
def test_columns_of_placements_below_the_limit_are_all_listed(case: Case) -> None:
    """None is missing, none takes longer than the step, the largest is the step."""
    steps = len(case.used)
    for row, times, _ in case.below:
        own = case.tree.columns.time[case.columns_of(row)][:, :steps]
        slowest = own.max(axis=0, initial=0.0)
        floor = np.maximum(slowest, case.low[:steps])
        assert floor == pytest.approx(times[case.used], rel=1e-9, abs=1e-9)
        assert (own <= times[case.used] * (1 + 1e-9) + 1e-9).all()
        assert (case.low[:steps] <= times[case.used] * (1 + 1e-9) + 1e-9).all()


def walk(tree: CountTree, low: np.ndarray) -> list[Node]:
    """Every node that is not cut."""
    root = tree.root(low)
    nodes = [] if root is None else [root]
    for node in nodes:
        if node.depth < tree.experts:
            nodes.extend(tree.children(node))
    return nodes


@settings(max_examples=60)
@given(cases())
def test_no_node_cuts_a_placement_below_the_limit(case: Case) -> None:
    """Each is below one node of each depth, whose bound and columns let it pass."""
    nodes = walk(case.tree, case.low)
    for row, _, cost in case.below:
        copies, columns = case.copies(row), case.columns_of(row)
        agree = [
            n for n in nodes if (copies[: len(n.copies)] == np.array(n.copies)).all()
        ]
        assert [n.depth for n in agree] == list(range(case.tree.experts + 1))
        for node in agree:
            assert node.bound <= cost * (1 + 1e-9) + 1e-9
            assert np.isin(columns, node.columns).all()
            low = node.low[: len(case.used)]
            assert low.sum() <= cost * (1 + 1e-9) + 1e-9


@settings(max_examples=60)
@given(cases(shares=(1.0,)))
def test_full_decisions_give_the_cheapest_placement(case: Case) -> None:
    """With the copies decided, the search by the table is exact."""
    best: dict[tuple[int, ...], float] = {}
    for row, _, cost in case.below:
        copies = tuple(case.copies(row).tolist())
        best[copies] = min(cost, best.get(copies, np.inf))
    for node in walk(case.tree, case.low):
        if node.depth == case.tree.experts:
            cost, columns = case.tree.solve(node)
            if node.copies in best:
                assert cost == pytest.approx(best[node.copies], rel=1e-9, abs=1e-9)
                slowest = case.tree.columns.time[columns].max(axis=0)
                assert np.maximum(slowest, node.low).sum() == pytest.approx(cost)
            else:
                assert cost >= case.limit * (1 - 1e-7)


@settings(max_examples=40)
@given(instances(**TINY, max_extra=3), st.integers(0, 99))
def test_placements_are_those_of_the_optimum_in_the_end(
    instance: Instance, seed: int
) -> None:
    """From any start, what is kept last is optimal; the bound meets it."""
    assume(instance.num_slots > instance.num_experts)
    rows = feasible_rows(instance.num_experts, instance.slots)
    costs = [
        evaluate(
            instance, Placement(np.array([[e for h in r for e in h]]), instance.slots)
        ).objective
        for r in rows
    ]
    start = random_placement(np.random.default_rng(seed), instance)
    search = Branching(instance, 0, start.phy2log[0])
    search.run(1)
    assert search.cost == pytest.approx(min(costs), rel=1e-8, abs=1e-9)
    assert search.bound <= min(costs) * (1 + 1e-9)
    assert search.bound >= min(costs) * (1 - 1e-8) - 1e-9


def test_a_halted_list_of_columns_proves_nothing() -> None:
    """Columns that are missing because of the halt cut no placement."""
    counts = np.random.default_rng(3).poisson(30, (6, 1, 6))
    instance = Instance.from_arrays(counts, [affine(5, 1)] * 3, slots=[3, 3, 3])
    start = random_placement(np.random.default_rng(0), instance)
    search = Branching(instance, 0, start.phy2log[0])
    search.halt[0] = 1
    search.run(1)
    assert search.bound == 0.0
    assert isinstance(search.tree()[0].columns, Columns)
