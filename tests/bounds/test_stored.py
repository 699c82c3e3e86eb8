"""Stored certificates: verified anew, and refused where they do not fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gemopt import Instance, Placement, evaluate
from gemopt.bounds import Bound, lower_bound
from gemopt.bounds.colocation.certificate import Certificate
from gemopt.bounds.sets.bound import MOST_WORK, SetCertificate, enumeration
from gemopt.bounds.steps.minorant import minorant
from gemopt.bounds.stored import save_bound, verified_bound
from gemopt.files.errors import FileError
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
    save_bound(bound, path, instance)
    assert verified_bound(path, instance) == pytest.approx(bound.value, rel=1e-12)
    assert bound.value <= evaluate(instance, start).objective


def test_the_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    """Ten files of one bound do not differ."""
    instance = _instance()
    bound = lower_bound(instance, float("inf"), iterations=20)
    written = set()
    for i in range(10):
        path = tmp_path / f"{i}.safetensors"
        save_bound(bound, path, instance)
        written.add(path.read_bytes())
    assert len(written) == 1


def test_a_false_dual_point_proves_less(tmp_path: Path) -> None:
    """Multipliers that were tampered with cannot raise the bound above the optimum."""
    instance = _instance()
    start = Placement(np.tile(np.arange(8), (2, 1)), instance.slots)
    bound = lower_bound(instance, 0.3, placement=start)
    for dual in bound.certificates:
        if isinstance(dual, Certificate):
            dual.weights[:] *= 50
            dual.psd[:] -= 10
        if isinstance(dual, SetCertificate):
            dual.rows[:] *= 50
            dual.prices[:] += 10
    path = tmp_path / "b.safetensors"
    save_bound(bound, path, instance)
    assert verified_bound(path, instance) <= bound.value


def _one_layer(experts: int, start: bool) -> tuple[Instance, Bound]:
    rng = np.random.default_rng(2)
    counts = rng.poisson(9, (32, 1, experts)) * rng.integers(0, 4, (32, 1, experts))
    instance = Instance.from_arrays(counts, [affine(1, 1 + g / 9) for g in range(4)])
    row = Placement(np.arange(experts)[None], instance.slots) if start else None
    bound = lower_bound(instance, float("inf"), placement=row, iterations=200)
    return instance, bound


@pytest.mark.parametrize(("experts", "part"), [(12, "prices"), (48, "psd")])
def test_both_kinds_of_certificates_are_stored(
    tmp_path: Path, experts: int, part: str
) -> None:
    """Sets of experts where these can be enumerated, else a semidefinite matrix."""
    instance, bound = _one_layer(experts, start=True)
    assert hasattr(bound.certificates[0], part)
    path = tmp_path / "b.safetensors"
    save_bound(bound, path, instance)
    assert verified_bound(path, instance) == pytest.approx(bound.value, rel=1e-12)


def test_sets_are_refused_where_there_are_too_many(tmp_path: Path) -> None:
    """Verifying must not take for ever: the message names the array and the limit."""
    instance, bound = _one_layer(48, start=False)
    assert enumeration(minorant(instance, 0)) > MOST_WORK
    false = SetCertificate(np.zeros((52, 32)), np.zeros(48))
    path = tmp_path / "b.safetensors"
    save_bound(replace(bound, certificates=(false,)), path, instance)
    with pytest.raises(FileError, match=rf"0\.rows .* {MOST_WORK}"):
        verified_bound(path, instance)


def test_another_instance_is_refused(tmp_path: Path) -> None:
    """The digest must match."""
    instance = _instance()
    path = tmp_path / "b.safetensors"
    save_bound(lower_bound(instance), path, instance)
    with pytest.raises(FileError, match="another one"):
        verified_bound(path, _instance(seed=1))


def test_other_files_are_refused(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "b.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(FileError, match="safetensors"):
        verified_bound(path, _instance())
