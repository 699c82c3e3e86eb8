"""Files of folders that engines write: their order, and those that are damaged."""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from gemopt.arrays import Ints
from gemopt.files.errors import FileError

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


def listed(folder: Path, *patterns: str) -> list[Path]:
    """Files of a folder that match any of the patterns, by name, 9 before 10.

    Raises
    ------
    FileError
        There is none.
    OSError
        There is no such folder.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    files = {file for pattern in patterns for file in folder.glob(pattern)}
    if not files:
        raise FileError(folder, f"holds no {' or '.join(patterns)}")
    return sorted(files, key=_by_number)


def _by_number(path: Path) -> tuple[list[Any], str]:
    """Text and numbers of a name in turn, then the name."""
    parts = _NUMBER.split(path.name)
    return [Decimal(p) if i % 2 else p for i, p in enumerate(parts)], path.name


class Skipper:
    """Reads the files of a folder, leaving out damaged ones when that is asked for.

    Parameters
    ----------
    enabled
        False: the first damaged file ends the import.
    notes
        Where each file that is left out is named, and what is wrong with it.
    """

    def __init__(self, enabled: bool, notes: list[str]) -> None:
        self.enabled, self.notes = enabled, notes

    def first(self, files: list[Path], read: Callable[[Path], Any]) -> Any:
        """Read the first file that can be read; `files` loses those before it.

        Raises
        ------
        FileError, OSError
            A file is damaged, or all are.
        """
        while True:
            try:
                return read(files[0])
            except (FileError, OSError) as error:
                if not self.enabled or len(files) == 1:
                    raise
                self.notes.append(f"left out: {error}")
                del files[0]

    def blocks(self, read: Callable[[], Iterator[Ints]]) -> Iterator[Ints]:
        """Yield the blocks of one file (or of files that are one recording).

        A file that may be left out is read to its end first, so that none of its steps
        are kept when it is damaged further on.

        Raises
        ------
        FileError, OSError
            The file is damaged.
        """
        if not self.enabled:
            yield from read()
            return
        try:
            blocks = list(read())
        except (FileError, OSError) as error:
            self.notes.append(f"left out: {error}")
            return
        yield from blocks
