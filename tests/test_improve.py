"""What `instances/improve.py` keeps of the best known values."""

from pathlib import Path

import pytest

from gemopt.files.best_known import BestKnown
from instances import improve


def _known(bound: float, provenance: str = "value: x; bound: y") -> BestKnown:
    return BestKnown(tag="best", value_us=100.0, bound_us=bound, provenance=provenance)


def test_the_better_bound_is_kept() -> None:
    """A smaller bound changes nothing; a larger one changes bound and its origin."""
    old = _known(90.0)
    assert improve._raised(old, 89.0, "z") == old
    new = improve._raised(old, 95.0, "z")
    assert (new.tag, new.value_us, new.bound_us) == ("best", 100.0, 95.0)
    assert new.provenance == "value: x; bound: z"


def test_a_bound_that_meets_the_value_is_a_proof() -> None:
    """The tag becomes `opt` within the stated tolerance, not before."""
    assert improve._raised(_known(90.0), 100.0 - 1e-5, "z").tag == "opt"
    assert improve._raised(_known(90.0), 99.9, "z").tag == "best"


def test_finished_instances_are_not_redone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had as many seconds a layer is left alone; the instance is not even read."""
    from gemopt.files.best_known import read_best_known, write_best_known

    note = improve._raised(_known(90.0), 95.0, f"gemopt {improve.gemopt.__version__} 3")
    note = note.model_copy(update={"provenance": note.provenance + improve._EACH})
    write_best_known(tmp_path, {"some": note})
    monkeypatch.setattr(improve, "ROOT", tmp_path)
    assert "already" in improve.tighten("some", 3.0)
    assert read_best_known(tmp_path) == {"some": note}
    with pytest.raises((OSError, ValueError)):
        improve.tighten("some", 4.0)  # looks for the instance
