"""Few changes of a placement: limits kept, gains true, moves where they pay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.traffic import synthetic_instance
from gemopt_solvers.search.bounded_moves.move_budget import _shares, spend_moves


def _changed(new: np.ndarray, old: np.ndarray, gpus: int) -> int:
    """Slots whose expert their GPU did not hold before; GPUs have equal slots."""
    after, before = (rows.reshape(len(rows), gpus, -1) for rows in (new, old))
    return int((~(after[..., None] == before[:, :, None]).any(axis=-1)).sum())


def _case(slots: int, seed: int) -> tuple[Instance, Placement]:
    instance = synthetic_instance(
        16, 4, slots, steps=24, layers=3, speeds="unequal", seed=seed
    )
    start = gemopt.solve(instance, "linear").placement
    assert start is not None
    return instance, start


@settings(max_examples=20, deadline=None)
@given(
    slots=st.sampled_from([16, 20, 24]), seed=st.integers(0, 99),
    moves=st.integers(1, 30),
)  # fmt: skip
def test_moves_are_kept_over_all_layers(slots: int, seed: int, moves: int) -> None:
    """No more slots than allowed take a new expert, and the objective falls."""
    instance, start = _case(slots, seed)
    rows = spend_moves(instance, start, moves)
    placement = Placement(rows, instance.slots)
    assert violations(instance, placement) == []
    assert _changed(rows, start.phy2log, 4) <= moves
    before = gemopt.evaluate(instance, start).objective
    assert gemopt.evaluate(instance, placement).objective <= before


def test_more_moves_gain_more_and_a_few_gain_most() -> None:
    """The objective falls with the budget; the first moves are worth most."""
    instance, start = _case(20, 5)
    costs = [gemopt.evaluate(instance, start).objective]
    for moves in (4, 12, 60):
        rows = spend_moves(instance, start, moves)
        placement = Placement(rows, instance.slots)
        costs.append(gemopt.evaluate(instance, placement).objective)
    gain = -np.diff(costs)
    assert (gain > 0).all()
    assert gain[0] / 4 > gain[1] / 8


def test_a_copy_of_a_hot_expert_is_worth_one_move() -> None:
    """Where one expert is all that matters, the one move allowed copies it."""
    counts = np.ones((8, 1, 8), dtype=np.int64)
    counts[:, 0, 6] = 100
    instance = Instance.from_arrays(counts, [affine(1.0, 1.0)] * 4, slots=[3, 3, 3, 3])
    start = Placement(np.array([[0, 1, 2, 3, 4, 5, 0, 6, 7, 1, 2, 3]]), instance.slots)
    result = gemopt.solve(instance, "search", start=start, params={"max_moves": 1})
    assert result.placement is not None
    assert (result.placement.phy2log == 6).sum() == 2
    assert (result.placement.phy2log != start.phy2log).sum() == 1


@pytest.mark.parametrize("moves", [0, 1, 3, 5, 9])
def test_shares_take_the_steepest_stretches(moves: int) -> None:
    """Layers keep beginnings that fit; a dear first change is paid for by the next."""
    moved = np.array([[1, 2, 3], [2, 3, 0], [1, 2, 3]])
    gains = np.array([[5.0, 4.0, 1.0], [1.0, 20.0, 0.0], [0.5, 0.5, 0.5]])
    kept = _shares(moved, gains, np.array([3, 2, 3]), moves)
    wanted = {0: [0, 0, 0], 1: [1, 0, 0], 3: [0, 2, 0], 5: [2, 2, 0], 9: [3, 2, 3]}
    assert kept == wanted[moves]
