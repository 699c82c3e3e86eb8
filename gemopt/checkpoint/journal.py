"""What a run has finished, so that the next one goes on from there."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TextIO

JOURNAL = ".gemopt-apply.jsonl"

Digests = dict[str, list[str]]


class Finished(NamedTuple):
    """One written weight file: checksums before and after, by tensor."""

    file: str
    num_bytes: int
    source: Digests
    output: Digests


class Journal:
    """Finished weight files of an output folder, one JSON line each.

    A line that a crash cut short is ignored: its file is written again.
    """

    def __init__(self, folder: Path, finished: dict[str, Finished], file: TextIO):
        self.folder = folder
        self.finished = finished
        self._file = file

    @classmethod
    def open(cls, folder: Path, key: str) -> Journal:
        """Start a journal in `folder` or go on with the one that is there.

        Parameters
        ----------
        folder
            The output folder.
        key
            Stands for source and placement.

        Raises
        ------
        ValueError
            The journal there has another key.
        """
        path = folder / JOURNAL
        entries = _entries(path) if path.exists() else []
        if entries and entries[0] != key:
            raise ValueError(
                f"{folder}: holds an unfinished copy of other weights or for another "
                "placement; remove it or choose another folder"
            )
        finished = {}
        for entry in entries[1:]:
            item = Finished(*entry) if isinstance(entry, list) else None
            written = folder / item.file if item else folder
            if item and written.is_file() and written.stat().st_size == item.num_bytes:
                finished[item.file] = item
        # Rewritten, so that a line cut short does not spoil the next one.
        file = path.open("w", encoding="utf-8")
        journal = cls(folder, finished, file)
        journal._write(key)
        for item in finished.values():
            journal._write(item)
        return journal

    def add(self, item: Finished) -> None:
        """Note a weight file that is written and verified."""
        self.finished[item.file] = item
        self._write(item)

    def remove(self) -> None:
        """Delete the journal: everything is done."""
        self._file.close()
        (self.folder / JOURNAL).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _write(self, entry: object) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def _entries(path: Path) -> list[object]:
    entries: list[object] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries
