"""Writing that leaves the old file or the new one, never half of one."""

import os
import secrets
from pathlib import Path


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write `data` to a temporary file beside `path`, then rename it.

    Raises
    ------
    OSError
        The folder is missing or not writable; names `path`, and nothing stays behind.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = f"cannot write: {error.strerror}"
        raise type(error)(error.errno, reason, str(target)) from error


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8, see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))
