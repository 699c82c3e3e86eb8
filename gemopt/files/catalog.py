"""Finding instances by name: `catalog.json` of an instances folder."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from gemopt.files.atomic import write_text
from gemopt.files.errors import FileError
from gemopt.files.instance_file import read
from gemopt.files.json_text import dump_json
from gemopt.files.schema import Document, read_document
from gemopt.files.sha256 import file_sha256
from gemopt.files.shipped import shipped_folder
from gemopt.model.instance import Instance
from gemopt.words import did_you_mean

FORMAT = "gemopt-catalog"
VERSION = 1
VARIABLE = "GEMOPT_INSTANCES"
SOURCES = ("measured", "profiles")  #: folders that hold what instances are made of


class CatalogEntry(Document):
    """One instance: where it is and how large."""

    name: str
    path: str  # relative to the folder of the catalogue
    sha256: str
    gpus: int
    experts: int
    slots: int
    layers: int
    steps: int
    latency: list[str]  # kinds of latency models
    summary: str = ""


class Catalog(Document):
    """All instances of a folder."""

    instances: list[CatalogEntry] = Field(default_factory=list)


def folder(given: str | Path | None = None) -> Path:
    """Folder of instances.

    `given`, else ``$GEMOPT_INSTANCES``, else ``./instances`` where it has a catalogue,
    else the folder that comes with the package.
    """
    named = given or os.environ.get(VARIABLE)
    if named:
        return Path(named)
    here = Path("instances")
    return here if (here / "catalog.json").is_file() else shipped_folder()


def read_catalog(root: Path) -> Catalog:
    """Read ``catalog.json`` of a folder.

    Raises
    ------
    FileError
        It is not a catalogue.
    OSError
        It cannot be read.
    """
    return read_document(root / "catalog.json", Catalog, FORMAT, VERSION)


def write_catalog(root: Path) -> Catalog:
    """Write ``catalog.json`` anew from all ``FAMILY/NAME.json`` below `root`.

    Raises
    ------
    FileError
        A file there is no instance, or two have the same name.
    """
    entries: dict[str, CatalogEntry] = {}
    for path in sorted(root.glob("*/*.json")):
        if path.name.endswith(".placement.json"):
            continue
        if path.parent.name in SOURCES:
            continue
        instance = read(path)
        if instance.name in entries:
            raise FileError(path, f"name = {instance.name!r} is taken already")
        entries[instance.name] = _entry(root, path, instance)
    catalog = Catalog(instances=[entries[name] for name in sorted(entries)])
    document: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    write_text(root / "catalog.json", dump_json({**document, **catalog.model_dump()}))
    return catalog


def load(path_or_name: str | Path, instances: str | Path | None = None) -> Instance:
    """Read an instance by path or by name.

    Parameters
    ----------
    path_or_name
        A path (ends in ``.json`` or has a folder), or a name from ``catalog.json``.
    instances
        Folder in which names are looked up; None means what `folder` says.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit; or no such name,
        with the nearest one.
    OSError
        The file cannot be read.
    """
    return read(resolve(path_or_name, instances))


def resolve(path_or_name: str | Path, instances: str | Path | None = None) -> Path:
    """Path of an instance, see `load`; the file of a path need not exist."""
    path = Path(path_or_name)
    if path.suffix == ".json" or len(path.parts) > 1 or path.is_file():
        return path
    name, root = str(path_or_name), folder(instances)
    if not (root / "catalog.json").is_file():
        raise FileError(
            root / "catalog.json",
            f"is missing, needed for the instance name {name!r}; give a path, "
            f"--instances or ${VARIABLE}",
        )
    paths = {entry.name: entry.path for entry in read_catalog(root).instances}
    if name not in paths:
        hint = did_you_mean(name, paths) or "; nor is there such a file"
        raise FileError(
            root / "catalog.json",
            f"has no instance {name!r}{hint or '; nor is there such a file'}",
        )
    path = root / paths[name]
    if not path.is_file():
        raise FileError(path, f"is missing: {name!r} is only in the repository")
    return path


def _entry(root: Path, path: Path, instance: Instance) -> CatalogEntry:
    from gemopt.files.latency_doc import dump_latency

    return CatalogEntry(
        name=instance.name,
        path=path.relative_to(root).as_posix(),
        sha256=file_sha256(path),
        gpus=instance.num_gpus,
        experts=instance.num_experts,
        slots=instance.num_slots,
        layers=instance.num_layers,
        steps=instance.num_steps,
        latency=sorted({dump_latency(model)["kind"] for model in instance.latency}),
        summary=str(instance.provenance.get("summary", "")),
    )
