"""What a run has finished, so that the next one goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from gemopt.files import journal

JOURNAL = ".gemopt-apply.jsonl"

Digests = dict[str, list[str]]


class Finished(NamedTuple):
    """One written weight file: checksums before and after, by tensor."""

    file: str
    num_bytes: int
    source: Digests
    output: Digests


class Journal(journal.Journal):
    """Finished weight files of an output folder, after a line with the key.

    Parameters
    ----------
    folder
        The output folder; its journal is begun, or gone on with.
    key
        Stands for source and placement.

    Raises
    ------
    ValueError
        The journal there has another key.
    """

    def __init__(self, folder: Path, key: str) -> None:
        super().__init__(folder / JOURNAL)
        self.folder = folder
        self.finished: dict[str, Finished] = {}
        if not self.entries:
            self.add(key)
        elif self.entries[0] != key:
            self.close()
            raise ValueError(
                f"{folder}: holds an unfinished copy of other weights or for another "
                "placement; remove it or choose another folder"
            )
        for entry in self.entries[1:]:
            item = Finished(*entry)
            written = folder / item.file
            if written.is_file() and written.stat().st_size == item.num_bytes:
                self.finished[item.file] = item

    def finish(self, item: Finished) -> None:
        """Note a weight file that is written and verified."""
        self.finished[item.file] = item
        self.add(item)

    def remove(self) -> None:
        """Delete the journal: everything is done."""
        self.close()
        self.path.unlink()
