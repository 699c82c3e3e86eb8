"""The one error of all readers: it names the file, the field and the value."""

from pathlib import Path


class FileError(ValueError):
    """A file that is not what it should be.

    The message is one line: ``PATH: FIELD problem with VALUE; what to do``.
    """

    def __init__(self, path: str | Path, problem: str) -> None:
        super().__init__(f"{path}: {' '.join(problem.split())}")
