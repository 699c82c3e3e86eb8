"""Folders that engines write."""

from pathlib import Path

from gemopt.files.errors import FileError


def listed(folder: Path, *patterns: str) -> list[Path]:
    """Files of a folder that match any of the patterns, by name.

    Raises
    ------
    FileError
        There is none.
    OSError
        There is no such folder.
    """
    if not folder.exists():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not files:
        raise FileError(folder, f"holds no {' or '.join(patterns)}")
    return files
