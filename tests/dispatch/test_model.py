"""Dispatch as part of the problem: files, bounds, solvers."""

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.bounds.lower_bound import lower_bound
from gemopt.files.digest import instance_digest


def instance(dispatch: str = "best", slots: int = 4) -> Instance:
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(0.5, 40.0, (5, 2, 9)))
    models = [gemopt.latency.affine(20, 0.1 * s) for s in (1.0, 1.1, 0.9)]
    return Instance.from_arrays(counts, models, slots=[slots] * 3, dispatch=dispatch)


def test_kept_by_files_slices_and_digest(tmp_path):
    """A file and every slice keep the dispatch, and the digest tells it apart."""
    best = instance()
    gemopt.save(best, tmp_path / "a.json")
    assert gemopt.load(tmp_path / "a.json").dispatch == "best"
    assert best.layer(0).dispatch == best.steps(1, 3).dispatch == "best"
    even = best.with_dispatch("even")
    assert instance_digest(even) == instance_digest(instance("even"))
    assert instance_digest(even) != instance_digest(best)


def test_unknown_dispatch_is_named(tmp_path):
    """A dispatch that does not exist is refused, in a file with the file's name."""
    with pytest.raises(ValueError, match="dispatch 'fair' is unknown; known: even"):
        instance().with_dispatch("fair")
    gemopt.save(instance(), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text().replace('"best"', '"fair"')
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(gemopt.FileError, match=r"a\.json.*dispatch 'fair'"):
        gemopt.load(tmp_path / "a.json")


@pytest.mark.parametrize("solver", ["linear", "lpt", "eplb", "gem", "search"])
def test_heuristics_are_priced_under_the_dispatch(solver):
    """A heuristic's objective is that of the best split, above a bound valid for it."""
    best = instance()
    result = gemopt.solve(best, solver, bound_effort="strong", seed=1)
    assert result.objective == gemopt.evaluate(best, result.placement).objective
    even = gemopt.evaluate(best.with_dispatch("even"), result.placement).objective
    assert result.objective <= even
    assert lower_bound(best, "none").value <= result.lower_bound <= result.objective


def test_exact_refuses_what_it_does_not_prove():
    """Exact solvers refuse a dispatch that they do not model, by name."""
    with pytest.raises(ValueError, match="cpsat proves optima of dispatch 'even'"):
        gemopt.solve(instance(), "cpsat")
    # No redundant slot: nothing to divide, and the proof holds.
    assert gemopt.solve(instance(slots=3), "exact").status == gemopt.Status.OPTIMAL
