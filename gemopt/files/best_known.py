"""`best_known.json` of an instances folder: the best placements found so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from gemopt.files.atomic import write_text
from gemopt.files.json_text import dump_json
from gemopt.files.schema import Document, read_document

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
