"""Safetensors files of ours, on their own or as sidecars of a JSON document."""

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gemopt.files.errors import FileError
from gemopt.files.json_text import compact
from gemopt.files.schema import check_header
from gemopt.files.sha256 import file_sha256

# One key: the order of several keys in a safetensors header is not fixed.
_HEADER_KEY = "gemopt"


def checked_sidecar(
    document: Path, field: str, name: str | None, sha256: str | None
) -> Path:
    """Path of the file `name` beside `document`, after checking its hash.

    Raises
    ------
    FileError
        No file of that name there, or one with another hash; names ``FIELD.file`` or
        ``FIELD.sha256``.
    """
    if name is None or Path(name).name != name:
        raise FileError(document, f"{field}.file = {name!r} must lie beside this file")
    sidecar = document.with_name(name)
    if not sidecar.is_file():
        raise FileError(document, f"{field}.file = {name!r} is missing: {sidecar}")
    found = file_sha256(sidecar)
    if sha256 != found:
        raise FileError(
            document, f"{field}.sha256 = {sha256!r}, but {sidecar} has {found}"
        )
    return sidecar


def tensor_bytes(
    tensors: dict[str, NDArray[Any]],
    format_name: str,
    version: int,
    header: dict[str, Any],
) -> bytes:
    """Serialise tensors and a header of ours, the same bytes every time."""
    from safetensors.numpy import save

    return bytes(save(tensors, metadata=header_text(format_name, version, header)))


def header_text(
    format_name: str, version: int, header: dict[str, Any]
) -> dict[str, str]:
    """Metadata of a safetensors file of ours."""
    text = compact({"format": format_name, "version": version, **header})
    return {_HEADER_KEY: text}


def read_tensors(
    path: Path, format_name: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read header and tensors of a safetensors file of ours.

    Raises
    ------
    FileError
        Not a safetensors file, or not of this format and version.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb"):  # a plain OSError when it cannot be read
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise FileError(path, f"is no safetensors file: {error}") from None
    try:
        header = json.loads(metadata.get(_HEADER_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise FileError(path, f"header {_HEADER_KEY} is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise FileError(path, f"header {_HEADER_KEY} is no JSON object")
    check_header(path, header, format_name, version)
    return header, tensors
