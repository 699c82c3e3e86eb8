"""The solver exact: which back end it takes, and that it proves."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance, Status
from gemopt.latency import LatencyModel, TileActive, TokenCurve, affine
from gemopt_solvers.exact.sets.solver import run_bnb
from gemopt_solvers.exact.solver import plan
from tests.brute_force import best_placement
from tests.solvers import exact_cases as cases

NAME = "exact"
LINES: list[LatencyModel] = [affine(9, 1), affine(9, 1.1)]
STAIRS: list[LatencyModel] = [TokenCurve([(8, 9.0), (16, 12.0), (24, 20.0)])] * 2


def _poisson(experts: int, models: list[LatencyModel], spare: int = 0) -> Instance:
    counts = np.random.default_rng(1).poisson(9, (6, 1, experts))
    slots = np.full(len(models), (experts + spare) // len(models))
    return Instance.from_arrays(counts, models, slots=slots)


def _names(instance: Instance, max_moves: int | None = None) -> list[str]:
    names = []
    for back_end, _ in plan(instance, max_moves):
        rows = getattr(back_end, "args", (back_end,))
        names.append(rows[0].__name__)
    return names


def test_small_layers_go_to_tables() -> None:
    """Whatever the family, with and without replicas."""
    for spare in (0, 2):
        for models in (LINES, STAIRS):
            assert plan(_poisson(8, models, spare), None)[0][0] is run_bnb


def test_lines_without_replicas_are_for_linear_programs() -> None:
    """Middle sizes end with lpbb, larger ones with HiGHS; stairs are for CP-SAT."""
    middle = ["run_cpsat", "run_highs", "run_lpbb"]
    assert _names(_poisson(32, LINES)) == middle
    assert _names(_poisson(32, [TileActive(1, 1, 1, 1)] * 2)) == middle
    assert _names(_poisson(256, LINES)) == ["run_cpsat", "run_highs"]
    assert _names(_poisson(32, STAIRS)) == ["run_cpsat"]
    assert _names(_poisson(32, LINES, spare=2)) == ["run_cpsat"]


def test_limited_moves_are_for_cpsat() -> None:
    """Only the rows know of a start."""
    assert _names(_poisson(8, LINES), max_moves=2) == ["run_cpsat"]


def test_proves_several_layers() -> None:
    """The sum over layers is proven."""
    counts = np.random.default_rng(2).poisson(9, (3, 2, 5))
    instance = Instance.from_arrays(counts, LINES, slots=[3, 3])
    _, optimum = best_placement(instance)
    result = gemopt.solve(instance, NAME)
    assert result.status == Status.OPTIMAL
    assert result.objective == pytest.approx(optimum, rel=1e-9)


def test_survives_a_time_limit() -> None:
    """Status, bound and placement are kept, whichever part is at work."""
    cases.survives_a_limit(NAME)


def test_obeys_a_move_limit() -> None:
    """Only as many slots change as allowed."""
    cases.obeys_moves(NAME)


def test_refuses_what_does_not_fit() -> None:
    """A model too large is refused with its size."""
    cases.refuses_giants(NAME)
