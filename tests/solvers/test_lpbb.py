"""The exact solver lpbb against brute force and bnb, its bounds, and its limits."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import gemopt
from gemopt import Instance, Status
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.latency import LatencyModel, Line, Roofline, TileActive, TokenCurve, affine
from gemopt_solvers.exact.backend import Problem
from gemopt_solvers.exact.lp.relaxation import (
    Nodes,
    enter,
    propagate,
    root_tableau,
    safe_bound,
    settle,
)
from gemopt_solvers.exact.lp.relaxed import Relaxed, lines_of
from gemopt_solvers.exact.lp.simplex import OPTIMAL, reoptimise
from tests.brute_force import best_placement
from tests.strategies import random_placement

NAME = "lpbb"
EQUAL = [affine(9, 1)] * 3
UNEQUAL = [affine(9, 1), affine(8, 1.3), affine(9, 1)]
TILES = [TileActive(5, 3, 4, 0.1, 16), TileActive(5, 2, 5, 0.1, 16)]
ROOFS = [Roofline(Line(9, 6), Line(3, 0, 0, s), 16, None) for s in (0.4, 0.5, 0.4)]
CASES: dict[str, list[LatencyModel]] = {
    "equal": EQUAL,
    "unequal": UNEQUAL,
    "tiles": TILES,
    "roofs": ROOFS,
}


def drawn(
    models: list[LatencyModel], seed: int, experts: int = 7, steps: int = 5
) -> Instance:
    """Bursty loads, uneven slots, a step without weight and an idle one."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.7, 15.0, (steps, 1, experts)))
    counts[-1] = 0
    slots = np.full(len(models), experts // len(models))
    slots[: experts % len(models)] += 1
    weights = np.ones(steps)
    weights[0] = 0.0
    weights[1] = 2.5
    return Instance.from_arrays(counts, models, slots=slots, weights=weights)


def posed(instance: Instance) -> Problem:
    """The layer with water-filling bounds of steps."""
    return Problem(instance, 0, water_filling(instance)[0], 1e9, None, None)


@settings(max_examples=60)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 9999))
def test_equals_brute_force(case: str, seed: int) -> None:
    """Lines and maxima of two, equal and unequal GPUs and slots, uneven weights."""
    instance = drawn(CASES[case], seed)
    _, optimum = best_placement(instance)
    start = random_placement(np.random.default_rng(seed), instance)
    result = gemopt.solve(instance, NAME, start=start)
    assert result.objective == pytest.approx(optimum, rel=1e-9)
    assert result.lower_bound == pytest.approx(optimum, rel=2e-6)
    assert result.lower_bound <= optimum * (1 + 1e-9)


@settings(max_examples=60)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 9999), st.booleans())
def test_any_costs_of_columns_prove_a_bound(case: str, seed: int, ray: bool) -> None:
    """Noise in the objective row, or a row that claims infeasibility, does no harm."""
    instance = drawn(CASES[case], seed)
    _, optimum = best_placement(instance)
    lines = lines_of(posed(instance), np.arange(instance.num_experts))
    nodes: Nodes = root_tableau(lines)
    rng = np.random.default_rng(seed)
    nodes.t[0] += rng.normal(0, rng.choice([0.01, 1.0]), nodes.t[0].shape)
    row = int(rng.integers(1, nodes.rows[0] + 1)) if ray else 0
    bound = safe_bound(lines, nodes, 0, row, optimum)
    assert bound <= optimum * (1 + 1e-9)


@settings(max_examples=40)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 9999))
def test_a_halted_search_has_a_valid_bound(case: str, seed: int) -> None:
    """Whatever is left open, the bound is below the optimum."""
    instance = drawn(CASES[case], seed)
    _, optimum = best_placement(instance)
    start = random_placement(np.random.default_rng(seed), instance)
    search = Relaxed(posed(instance), start.phy2log[0])
    halter = threading.Timer(0.0002 * (seed % 10), search.halt.fill, [1])
    halter.start()
    search.run(1)
    halter.join()
    assert search.bound <= optimum * (1 + 1e-9)


@settings(max_examples=100)
@given(st.integers(0, 9999))
def test_propagation_keeps_every_placement(seed: int) -> None:
    """What is closed, no placement within the choices uses."""
    rng = np.random.default_rng(seed)
    slots = rng.multinomial(6, [1 / 3] * 3)
    held = rng.permutation(np.repeat(np.arange(3), slots))
    may = (1 << held) | rng.integers(0, 8, 6) * (rng.random(6) < 0.5)
    assert propagate(may, slots)
    assert ((may >> held) & 1 == 1).all()
    full = np.full(6, 1 << int(np.argmin(slots)))
    assert not propagate(full, slots) or slots.max() == 6


@pytest.mark.parametrize("case", ["equal", "unequal"])
def test_agrees_with_milp(case: str) -> None:
    """On layers beyond brute force two methods find the same optimum."""
    instance = drawn(CASES[case], 3, experts=16, steps=8)
    ours = gemopt.solve(instance, NAME, jobs=2)
    theirs = gemopt.solve(instance, "milp", time_limit=60)
    assert ours.status == Status.OPTIMAL
    assert theirs.objective == pytest.approx(ours.objective, rel=1e-6)


def test_one_thread_repeats() -> None:
    """Equal runs give the same placement."""
    instance = drawn(UNEQUAL, 5, experts=14)
    first, second = (gemopt.solve(instance, NAME, seed=1, jobs=1) for _ in range(2))
    assert first.placement is not None and second.placement is not None
    assert (first.placement.phy2log == second.placement.phy2log).all()


@pytest.mark.parametrize(
    ("models", "spare", "words"),
    [
        ([TokenCurve([(8, 9.0), (16, 12.0), (24, 20.0)])] * 2, 0, "no lines"),
        ([affine(9, 1)] * 2, 2, "replicas"),
    ],
)
def test_refuses_what_has_no_lines(
    models: list[LatencyModel], spare: int, words: str
) -> None:
    """Curves and replicas are named, with the solver to take."""
    counts = np.ones((2, 1, 6), dtype=int)
    slots = [(6 + spare) // 2] * 2
    instance = Instance.from_arrays(counts, models, slots=slots)
    with pytest.raises(ValueError, match=words):
        gemopt.solve(instance, NAME)


def test_refuses_large_tableaus() -> None:
    """The size is told before anything is built."""
    counts = np.ones((64, 1, 128), dtype=int)
    with pytest.raises(ValueError, match="tableaus of about"):
        gemopt.solve(Instance.from_arrays(counts, [affine(9, 1)] * 8), NAME)


@pytest.mark.parametrize("seed", range(4))
def test_pivots_do_not_go_in_circles(seed: int) -> None:
    """The bound rises once the expert that rules all steps has its GPU."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(2.0, 12.0, (16, 1, 24)))
    counts[:, 0, 0] = 220
    instance = Instance.from_arrays(counts, [affine(58, 0.4)] * 4)
    steps, _ = raised_steps(instance, 0, water_filling(instance)[0])
    hint = gemopt.solve(instance, "lpt").placement
    assert hint is not None
    search = Relaxed(Problem(instance, 0, steps, 1e9, None, None), hint.phy2log[0])
    levels = search._levels(2)
    search._start(levels, search._root.may[0], 0)
    root = settle(search.lines, levels, 0, np.inf)
    assert enter(search.lines, levels, 0, 0, 0)
    assert settle(search.lines, levels, 1, np.inf) > 1.002 * root


@settings(max_examples=30)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 9999))
def test_the_root_equals_a_linear_program(case: str, seed: int) -> None:
    """Our dual simplex and HiGHS agree on the relaxation."""
    lines = lines_of(posed(drawn(CASES[case], seed)), np.arange(7))
    nodes, (rows, experts), gpus = (
        root_tableau(lines),
        lines.cost.shape,
        len(lines.slots),
    )
    arrays = [nodes.basic[0], nodes.column[0], nodes.state[0]]
    status, _, _ = reoptimise(
        nodes.t[0],
        nodes.rows[0],
        nodes.columns[0],
        *arrays,
        np.inf,
        5000,
        experts * gpus,
    )
    place = np.kron(np.eye(experts), np.ones(gpus))
    fill = np.kron(np.ones(experts), np.eye(gpus))
    time = np.zeros((rows, experts, gpus))
    time[np.arange(rows), :, lines.gpu] = lines.cost
    steps = np.eye(len(lines.low))
    exact = linprog(
        np.concatenate([np.zeros(experts * gpus), np.ones(len(steps))]),
        A_ub=np.hstack([time.reshape(rows, -1), -steps[lines.step]]),
        b_ub=-lines.base,
        A_eq=np.pad(np.vstack([place, fill]), ((0, 0), (0, len(steps)))),
        b_eq=np.concatenate([np.ones(experts), lines.slots]),
        bounds=[(0, None)] * (experts * gpus) + [(low, None) for low in lines.low],
    )
    assert status == OPTIMAL
    assert nodes.t[0, 0, 0] == pytest.approx(exact.fun, rel=2e-6)
