"""The feasibility checker finds each violation, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from tests.strategies import instances, placements

INSTANCE = Instance.from_arrays(
    np.ones((2, 2, 4), int), [affine(1, 1)] * 2, slots=[3, 2]
)
GOOD = [[0, 1, 2, 3, 0], [3, 2, 1, 0, 1]]


def broken(phy2log, slots=(3, 2)):
    """Violations of a placement of `INSTANCE`."""
    return gemopt.violations(INSTANCE, Placement(np.array(phy2log), np.array(slots)))


def test_feasible():
    """A feasible placement has no violation."""
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ([0, 1, 2, 0, 1], ["layer 1: expert 3 has no slot"]),
        ([0, 1, 1, 2, 3], ["layer 1: GPU 0 holds expert 1 2 times"]),
        ([0, 1, 4, 2, 3], ["phy2log[1, 2] = 4 is no expert (0..3)"]),
        ([0, 1, -1, 2, 3], ["phy2log[1, 2] = -1 is no expert (0..3)"]),
        (
            [0, 0, 0, 2, 2],
            [
                "layer 1: expert 1 has no slot",
                "layer 1: expert 3 has no slot",
                "layer 1: GPU 0 holds expert 0 3 times",
                "layer 1: GPU 1 holds expert 2 2 times",
            ],
        ),
    ],
)
def test_each_violation(row, lines):
    """Missing experts, second copies on a GPU and unknown ids, each by place."""
    assert broken([GOOD[0], row]) == lines


def test_wrong_shapes():
    """Other slots per GPU or another number of layers are violations."""
    assert broken(GOOD, (2, 3)) == ["slots = [2, 3], the instance has [3, 2]"]
    assert broken(GOOD[:1]) == ["phy2log has 1 layers, the instance has 2"]


def test_evaluate_refuses():
    """`evaluate` raises `Infeasible` and says how many more rules are broken."""
    many = Instance.from_arrays(np.ones((1, 1, 40), int), [affine(1, 1)] * 2)
    nothing = Placement(np.zeros((1, 40), int), many.slots)
    with pytest.raises(gemopt.Infeasible, match=r"expert 1 has no slot.*and 33 more"):
        gemopt.evaluate(many, nothing)


@given(st.data())
def test_one_changed_slot(data):
    """After any one change of a slot the checker agrees with the definition."""
    instance = data.draw(instances(max_layers=1))
    placement = data.draw(placements(instance))
    row = placement.phy2log[0].copy()
    row[data.draw(st.integers(0, len(row) - 1))] = data.draw(
        st.integers(0, instance.num_experts - 1)
    )
    ends = np.cumsum(instance.slots)[:-1]
    feasible = set(row) == set(range(instance.num_experts)) and all(
        len(set(part)) == len(part) for part in np.split(row, ends)
    )
    lines = gemopt.violations(instance, Placement(row[None], instance.slots))
    assert (lines == []) == feasible
