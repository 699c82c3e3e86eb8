"""Stored certificates: verified anew, and refused where they do not fit."""

from pathlib import Path

import numpy as np
import pytest

from gemopt import Instance, Placement, evaluate
from gemopt.bounds import lower_bound
from gemopt.bounds.stored import save_bound, verified_bound
from gemopt.io.errors import FileError
from gemopt.latency import TokenCurve, affine


def _instance(seed: int = 0, slots: list[int] | None = None) -> Instance:
    counts = np.random.default_rng(seed).poisson(9, (6, 2, 8))
    curve = TokenCurve([(8 * i, 5.0 * i) for i in range(1, 30)])
    return Instance.from_arrays(counts, [affine(1, 1), curve], slots=slots)


@pytest.mark.parametrize("slots", [None, [5, 5]])
def test_the_file_proves_the_same_bound(
    tmp_path: Path, slots: list[int] | None
) -> None:
    """Reading needs no solver and gives the value that was found."""
    instance = _instance(slots=slots)
    row = np.arange(8) if slots is None else np.array([0, 1, 2, 3, 4, 5, 6, 7, 0, 1])
    start = Placement(np.tile(row, (2, 1)), instance.slots)
    bound = lower_bound(instance, 0.5, placement=start)
    path = tmp_path / "b.safetensors"
    save_bound(path, instance, bound)
    assert verified_bound(path, instance) == pytest.approx(bound.value, rel=1e-12)
    assert bound.value <= evaluate(instance, start).objective


def test_the_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    """Ten files of one bound do not differ."""
    instance = _instance()
    bound = lower_bound(instance, float("inf"), iterations=20)
    written = set()
    for i in range(10):
        path = tmp_path / f"{i}.safetensors"
        save_bound(path, instance, bound)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_a_false_dual_point_proves_less(tmp_path: Path) -> None:
    """Multipliers that were tampered with cannot raise the bound above the optimum."""
    instance = _instance()
    start = Placement(np.tile(np.arange(8), (2, 1)), instance.slots)
    bound = lower_bound(instance, 0.3, placement=start)
    for dual in bound.certificates:
        if dual is not None:
            dual.weights[:] *= 50
            dual.psd[:] -= 10
    path = tmp_path / "b.safetensors"
    save_bound(path, instance, bound)
    assert verified_bound(path, instance) <= bound.value


def test_another_instance_is_refused(tmp_path: Path) -> None:
    """The digest must match."""
    instance = _instance()
    path = tmp_path / "b.safetensors"
    save_bound(path, instance, lower_bound(instance))
    with pytest.raises(FileError, match="another one"):
        verified_bound(path, _instance(seed=1))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(FileError, match="safetensors"):
        verified_bound(path, _instance())
