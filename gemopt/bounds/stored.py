"""Certificates in a file, so that anyone can check a bound without the solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gemopt.bounds.colocation.certificate import Certificate, certified
from gemopt.bounds.communication import communication_bound
from gemopt.bounds.lower_bound import Bound, layer_program
from gemopt.bounds.sets.bound import (
    MOST_WORK,
    SetCertificate,
    certified_sets,
    enumeration,
    set_program,
)
from gemopt.bounds.steps.minorant import Floats, minorant
from gemopt.bounds.steps.one_step import raised_steps
from gemopt.bounds.steps.water_filling import water_filling
from gemopt.files.atomic import write_bytes
from gemopt.files.digest import instance_digest
from gemopt.files.errors import FileError
from gemopt.files.tensors import read_tensors, tensor_bytes
from gemopt.model.instance import Instance

FORMAT = "gemopt-bound"
VERSION = 1
_PARTS = ("weights", "equal", "box", "psd")  # of bound C
_SET_PARTS = ("rows", "prices")  # of bound D


def save_bound(bound: Bound, path: str | Path, instance: Instance) -> None:
    """Write the dual points of a bound to a safetensors file.

    Layers whose best bound is a one-step bound need no dual point: the reader computes
    that bound itself.
    """
    arrays: dict[str, Floats] = {}
    for layer, dual in enumerate(bound.certificates):
        if dual is not None:
            arrays[f"{layer}.working"] = bound.working[layer]
            parts = _PARTS if isinstance(dual, Certificate) else _SET_PARTS
            for part in parts:
                arrays[f"{layer}.{part}"] = np.ascontiguousarray(getattr(dual, part))
    header = {
        "instance": instance_digest(instance),
        "value_us": bound.value,
        "kind": list(bound.kind),
    }
    write_bytes(Path(path), tensor_bytes(arrays, FORMAT, VERSION, header))


def verified_bound(path: str | Path, instance: Instance) -> float:
    """Re-verify a stored bound; only the instance and `certified` are trusted.

    Returns
    -------
    float
        The bound that the file proves, us.

    Raises
    ------
    FileError
        The file is none of ours, was made for another instance, or lacks an array or
        has one of the wrong shape.
    OSError
        It cannot be read.
    """
    arrays = _read(path, instance)
    communication = communication_bound(instance)
    one_step = water_filling(instance)
    total = 0.0
    for layer in range(instance.num_layers):
        bound, _ = raised_steps(instance, layer, one_step[layer])
        value = communication.with_steps(layer, bound)
        if f"{layer}.working" in arrays:
            summed = _layer_value(path, instance, layer, bound, arrays)
            value = max(value, communication.with_sum(layer, summed))
        total += value
    return total


def _layer_value(
    path: str | Path,
    instance: Instance,
    layer: int,
    bound: Floats,
    arrays: dict[str, Floats],
) -> float:
    working = _array(path, arrays, f"{layer}.working", bound.shape)
    if f"{layer}.rows" in arrays:
        return _set_value(path, instance, layer, bound, working, arrays)
    p = layer_program(instance, layer, bound, working)
    shapes = (p.rows.shape, p.equal_left.shape, (p.size,), (p.size, p.size))
    parts = [
        _array(path, arrays, f"{layer}.{part}", shape)
        for part, shape in zip(_PARTS, shapes, strict=True)
    ]
    return certified(p, Certificate(*parts))


def _set_value(
    path: str | Path,
    instance: Instance,
    layer: int,
    bound: Floats,
    working: Floats,
    arrays: dict[str, Floats],
) -> float:
    least = minorant(instance, layer)
    if instance.num_slots > instance.num_experts or enumeration(least) > MOST_WORK:
        raise FileError(
            path,
            f"array {layer}.rows proves nothing: it needs an instance without replicas "
            f"and at most {MOST_WORK} sets of experts that a GPU can hold times steps",
        )
    p = set_program(least, bound, working, instance.weights)
    experts = instance.num_experts
    shapes = ((experts + len(p.members), p.weights.size), (experts,))
    parts = [
        _array(path, arrays, f"{layer}.{part}", shape)
        for part, shape in zip(_SET_PARTS, shapes, strict=True)
    ]
    return certified_sets(p, SetCertificate(*parts))


def _array(
    path: str | Path, arrays: dict[str, Floats], name: str, shape: tuple[int, ...]
) -> Floats:
    if name not in arrays:
        raise FileError(path, f"array {name} is missing")
    array = arrays[name]
    if array.shape != shape or array.dtype != np.float64:
        raise FileError(
            path, f"array {name} is {array.dtype} {array.shape}, needs float64 {shape}"
        )
    if not np.isfinite(array).all():
        raise FileError(path, f"array {name} has a value that is no number")
    return array


def _read(path: str | Path, instance: Instance) -> dict[str, Floats]:
    if not Path(path).is_file():
        raise FileError(path, "no such file")
    header, arrays = read_tensors(Path(path), FORMAT, VERSION)
    if header.get("instance") != instance_digest(instance):
        raise FileError(path, f"instance {header.get('instance')} is another one")
    return arrays
