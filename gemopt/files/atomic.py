"""Writing that leaves the old file or the new one, never half of one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there becomes `path`.

    When the block raises, `path` stays as it was and the temporary file goes.

    Raises
    ------
    OSError
        The folder is missing or not writable; names `path`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(error, target) from error


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to `path`, see `replacing`."""
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, see `replacing`."""
    write_bytes(path, text.encode("utf-8"))


def require_writable(path: str | Path) -> None:
    """Raise OSError if `path` cannot be written; leaves nothing behind.

    For commands that work long before they write.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "cannot write: is a folder", str(target))
    probe = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _cannot_write(error, target) from error


def _cannot_write(error: OSError, target: Path) -> OSError:
    reason = f"cannot write: {error.strerror or error}"
    return type(error)(error.errno, reason, str(target))
