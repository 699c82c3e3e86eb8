"""A file of JSON lines that grows, so that an interrupted run can go on."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gemopt.files.errors import FileError
from gemopt.files.json_text import compact


class Journal:
    """Entries of a file, one JSON value a line, and the place for more.

    Every entry is handed to the system when it is added: a process that is killed
    loses at most the line it was writing, and opening the file cuts that one off.

    Parameters
    ----------
    path
        The file; made when it is missing.

    Attributes
    ----------
    entries
        What the file held when it was opened.

    Raises
    ------
    FileError
        A whole line is no JSON; names the file and the line.
    OSError
        The file cannot be read or written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = self.path.open("a+b", buffering=0)
        try:
            self._file.seek(0)
            data = self._file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self.entries = _parsed(self.path, whole)
            if whole != data:
                self._file.truncate(len(whole))
        except BaseException:
            self._file.close()
            raise

    def add(self, entry: Any) -> None:
        """Append an entry, whole or not at all.

        Raises
        ------
        ValueError
            JSON does not know a value.
        OSError
            The file cannot be written.
        """
        line = compact(entry).encode() + b"\n"
        size = self._file.seek(0, os.SEEK_END)
        try:
            written = 0
            while written < len(line):  # a disk that fills up takes a part of a line
                written += self._file.write(line[written:])
        except BaseException as error:
            self._file.truncate(size)
            if isinstance(error, OSError):
                error.filename = error.filename or str(self.path)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_entries(path: str | Path) -> list[Any]:
    """Read the whole lines of a file and leave it as it is; raises as `Journal`."""
    data = Path(path).read_bytes()
    return _parsed(Path(path), data[: data.rfind(b"\n") + 1])


def _parsed(path: Path, data: bytes) -> list[Any]:
    entries = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            entries.append(json.loads(line))
        except ValueError as error:
            raise FileError(path, f"line {number} is no JSON: {error}") from None
    return entries
