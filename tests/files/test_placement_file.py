"""Placement files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.files.placement_file import read_placement
from tests import strategies
from tests.files.test_instance_file import small


@given(st.data())
def test_reading_gives_back_what_was_written(tmp_path_factory, data):
    """save_placement then load_placement is the identity."""
    instance = data.draw(strategies.instances())
    placement = data.draw(strategies.placements(instance))
    path = tmp_path_factory.mktemp("p") / "x.placement.json"
    gemopt.save_placement(placement, path, instance)
    assert gemopt.load_placement(path, instance) == placement


def test_the_run_is_kept(tmp_path):
    """Solver, seed, status, objective, bound and seen steps come back."""
    instance = small()
    result = gemopt.solve(instance.steps(0, 1), "linear", seed=7)
    path = tmp_path / "x.placement.json"
    gemopt.save_placement(result.placement, path, instance, result=result, steps=(0, 1))
    saved = read_placement(path)
    assert saved.placement == result.placement
    assert (saved.solver, saved.seed, saved.status) == ("linear", 7, result.status)
    assert (saved.objective_us, saved.bound_us) == (
        result.objective,
        result.lower_bound,
    )
    assert saved.steps == (0, 1)
    assert saved.versions["gemopt"] == gemopt.__version__
    assert np.array_equal(saved.layer_ids, instance.layer_ids)


def test_other_instances_are_refused(tmp_path):
    """A digest that differs is an error, unless forced."""
    instance, other = small(), small(weights=[1.0, 2.0], name="other")
    placement = gemopt.solve(instance, "linear").placement
    path = tmp_path / "x.placement.json"
    gemopt.save_placement(placement, path, instance)
    with pytest.raises(gemopt.FileError, match=r"instance\.digest = .*--force"):
        gemopt.load_placement(path, other)
    assert gemopt.load_placement(path, other, force=True) == placement


def test_forced_placements_must_still_be_feasible(tmp_path):
    """Force does not accept a placement of the wrong shape."""
    instance, other = small(), small(slots=[3, 3])
    path = tmp_path / "x.placement.json"
    gemopt.save_placement(gemopt.solve(instance, "linear").placement, path, instance)
    with pytest.raises(gemopt.FileError, match=r"slots = \[2, 2\]"):
        gemopt.load_placement(path, other, force=True)


def test_infeasible_placements_are_not_written(tmp_path):
    """What breaks a rule never reaches a file."""
    instance = small()
    wrong = gemopt.Placement(np.array([[0, 0, 1, 2]]), instance.slots)
    with pytest.raises(ValueError, match="not feasible: layer 0: expert 3 has no slot"):
        gemopt.save_placement(wrong, tmp_path / "x.placement.json", instance)
    assert list(tmp_path.iterdir()) == []
