"""`best_known.json` of an instances folder: the best placements found so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from gemopt.files.atomic import write_text
from gemopt.files.catalog import folder, read_catalog
from gemopt.files.json_text import dump_json
from gemopt.files.schema import Document, read_document
from gemopt.files.sha256 import file_sha256

FORMAT = "gemopt-best-known"
VERSION = 1
FILE = "best_known.json"


class BestKnown(Document):
    """What is known about one instance.

    Attributes
    ----------
    tag
        ``opt``: proven optimal; ``best``: the best known; ``inf``: proven infeasible;
        ``unkn``: nothing is known.
    value_us
        Objective over all steps, us, of ``best/NAME.placement.json``.
    bound_us
        Best proven lower bound, us.
    provenance
        Who found the value, and who proved the bound.
    """

    tag: Literal["opt", "best", "inf", "unkn"]
    value_us: float | None
    bound_us: float | None
    provenance: str


class BestKnownDoc(Document):
    """The whole document, without format and version."""

    instances: dict[str, BestKnown] = Field(default_factory=dict)


def read_best_known(root: Path) -> dict[str, BestKnown]:
    """Read the file of a folder; empty when there is none.

    Raises
    ------
    FileError
        It is not such a file.
    OSError
        It cannot be read.
    """
    path = root / FILE
    if not path.exists():
        return {}
    return read_document(path, BestKnownDoc, FORMAT, VERSION).instances


def write_best_known(root: Path, known: Mapping[str, BestKnown]) -> None:
    """Write the file of a folder, sorted by name."""
    entries = {name: known[name].model_dump() for name in sorted(known)}
    document = {"format": FORMAT, "version": VERSION, "instances": entries}
    write_text(root / FILE, dump_json(document))


def best_known_us(path: Path, instances: Path | None = None) -> float | None:
    """Best known objective of an instance file, us, or None.

    Looked up in the folder that the file lies in (``FOLDER/FAMILY/NAME.json``), then
    in `instances`, else ``$GEMOPT_INSTANCES``, else ``./instances``. Only a catalogue
    entry with the very content of the file counts, so a copy of an instance has its
    value and another instance of the same name has none.
    """
    content = file_sha256(path)
    for root in dict.fromkeys((path.resolve().parent.parent, folder(instances))):
        if not (root / "catalog.json").is_file():
            continue
        for entry in read_catalog(root).instances:
            if entry.sha256 == content:
                known = read_best_known(root).get(entry.name)
                if known is not None and known.value_us is not None:
                    return known.value_us
    return None
