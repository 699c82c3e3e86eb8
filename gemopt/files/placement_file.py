"""Placements as JSON: who made them, for which instance, and at what cost."""

import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gemopt.arrays import Ints
from gemopt.files.atomic import write_text
from gemopt.files.digest import instance_digest
from gemopt.files.errors import FileError
from gemopt.files.json_text import dump_json
from gemopt.files.schema import Document, read_document
from gemopt.model.check import violations
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.result import Result

FORMAT = "gemopt-placement"
VERSION = 1
SUFFIX = ".placement.json"


@dataclass(frozen=True, eq=False)
class SavedPlacement:
    """A placement and what its file says about it.

    Attributes
    ----------
    placement
        The placement.
    layer_ids
        Index of each MoE layer in the model, int64 ``[layers]``.
    instance, digest
        Name and digest of the instance that it was made for.
    steps
        Range (start, stop) of the steps that the solver saw.
    objective_us, bound_us
        Cost on those steps and its proven lower bound, us; None when unknown.
    solver, seed, status
        Who made it; empty, 0 and empty when it was not a solver.
    versions
        Software that made it.
    """

    placement: Placement
    layer_ids: Ints
    instance: str
    digest: str
    steps: tuple[int, int]
    objective_us: float | None = None
    bound_us: float | None = None
    solver: str = ""
    seed: int = 0
    status: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


class InstanceRef(Document):
    """Which instance a placement answers."""

    name: str
    digest: str
    steps: tuple[int, int] | list[int]


class PlacementDoc(Document):
    """The whole document, without format and version."""

    instance: InstanceRef
    solver: str
    seed: int
    status: str
    objective_us: float | None
    bound_us: float | None
    versions: dict[str, str]
    slots: list[int]
    layer_ids: list[int]
    phy2log: list[list[int]]


def save_placement(
    placement: Placement,
    path: str | Path,
    instance: Instance,
    *,
    result: Result | None = None,
    steps: tuple[int, int] | None = None,
) -> None:
    """Write a placement, by custom ``NAME.placement.json``.

    Parameters
    ----------
    placement
        The placement.
    path
        Target.
    instance
        The instance that it answers; its digest is kept.
    result
        The run that found it: objective, bound, solver, seed and status are kept.
    steps
        Range (start, stop) of the instance's steps that the run saw; None means all.

    Raises
    ------
    ValueError
        The placement does not fit the instance.
    OSError
        The file cannot be written.
    """
    if broken := violations(instance, placement):
        raise ValueError(f"placement is not feasible: {broken[0]}")
    objective = result.objective if result else math.inf
    bound = result.lower_bound if result else -math.inf
    document = {
        "format": FORMAT,
        "version": VERSION,
        "instance": {
            "name": instance.name,
            "digest": instance_digest(instance),
            "steps": list(steps or (0, instance.num_steps)),
        },
        "solver": result.solver if result else "",
        "seed": result.seed if result else 0,
        "status": str(result.status) if result else "",
        "objective_us": objective if math.isfinite(objective) else None,
        "bound_us": bound if math.isfinite(bound) else None,
        "versions": _versions(),
        "slots": placement.slots.tolist(),
        "layer_ids": instance.layer_ids.tolist(),
        "phy2log": placement.phy2log.tolist(),
    }
    write_text(path, dump_json(document))


def read_placement(path: str | Path) -> SavedPlacement:
    """Read a placement file with all that it says.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    file = Path(path)
    doc = read_document(file, PlacementDoc, FORMAT, VERSION)
    if len(doc.layer_ids) != len(doc.phy2log):
        raise FileError(
            file,
            f"layer_ids has {len(doc.layer_ids)} values for "
            f"{len(doc.phy2log)} rows of phy2log",
        )
    try:
        placement = Placement(doc.phy2log, doc.slots)  # type: ignore[arg-type]
    except ValueError as error:
        raise FileError(file, str(error)) from error
    if len(doc.instance.steps) != 2:
        raise FileError(file, f"instance.steps = {doc.instance.steps} must be a pair")
    start, stop = doc.instance.steps
    return SavedPlacement(
        placement=placement,
        layer_ids=np.array(doc.layer_ids, dtype=np.int64),
        instance=doc.instance.name,
        digest=doc.instance.digest,
        steps=(start, stop),
        objective_us=doc.objective_us,
        bound_us=doc.bound_us,
        solver=doc.solver,
        seed=doc.seed,
        status=doc.status,
        versions=doc.versions,
    )


def load_placement(
    path: str | Path, instance: Instance | None = None, *, force: bool = False
) -> Placement:
    """Read a placement.

    Parameters
    ----------
    path
        The file.
    instance
        The instance that it must answer; None checks the file alone.
    force
        Accept a placement that was made for another instance, if it is feasible.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit; or the placement was
        made for another instance, or breaks one of its rules.
    OSError
        The file cannot be read.
    """
    saved = read_placement(path)
    if instance is None:
        return saved.placement
    digest = instance_digest(instance)
    if saved.digest != digest and not force:
        raise FileError(
            path,
            f"instance.digest = {saved.digest!r} (instance {saved.instance!r}), but "
            f"instance {instance.name!r} has {digest!r}; --force accepts it",
        )
    if broken := violations(instance, saved.placement):
        raise FileError(path, broken[0])
    return saved.placement


def _versions() -> dict[str, str]:
    from gemopt import __version__

    return {
        "gemopt": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
