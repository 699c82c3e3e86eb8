"""The solver exact: which back end it takes, and that it proves."""

import importlib.util
import sys

import numpy as np
import pytest

import gemopt
from gemopt import Instance, Status
from gemopt.latency import LatencyModel, TileActive, TokenCurve, affine
from gemopt.run import registry
from gemopt.run.auto import choose
from gemopt_solvers.exact.rows import milp
from gemopt_solvers.exact.sets.solver import run_bnb
from gemopt_solvers.exact.solver import plan
from tests.brute_force import best_placement

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


def test_needs_no_highs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra exact proves all the same; milp says what to install."""
    monkeypatch.setitem(sys.modules, "highspy", None)
    found = importlib.util.find_spec
    for module in (registry, milp):
        monkeypatch.setattr(
            module, "find_spec", lambda n: None if n == "highspy" else found(n)
        )
    assert _names(_poisson(32, LINES)) == ["run_cpsat", "run_lpbb"]
    assert _names(_poisson(256, LINES)) == ["run_cpsat"]
    small = _poisson(8, LINES)
    assert gemopt.solve(small, NAME).status == Status.OPTIMAL
    counts = np.random.default_rng(1).poisson(9, (2, 1, 18))
    lines = Instance.from_arrays(counts, LINES)
    assert gemopt.solve(lines, NAME, time_limit=60).status == Status.OPTIMAL
    with pytest.raises(ValueError, match=r"pip install 'gemopt\[milp\]'"):
        gemopt.solve(small, "milp")


@pytest.mark.parametrize(
    ("models", "experts", "spare", "seconds", "solver"),
    [
        (LINES, 32, 0, 60, "exact"),
        (LINES, 32, 0, 30, "search"),
        (LINES, 32, 2, 60, "search"),
        (STAIRS, 32, 0, 60, "search"),
        (LINES, 64, 0, 1000, "search"),
    ],
)
def test_auto_takes_lpbb_where_it_proves(
    models: list[LatencyModel], experts: int, spare: int, seconds: float, solver: str
) -> None:
    """Lines without replicas, 32 experts, a minute a layer."""
    assert choose(_poisson(experts, models, spare), seconds) == solver
