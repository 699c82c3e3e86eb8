"""JSON that people can read and that is the same bytes every time."""

import json
from pathlib import Path
from typing import Any

from gemopt.files.errors import FileError

_WIDTH = 88


class OneLine(dict[str, Any]):
    """A record that stays on one line however long it is."""


def dump_json(document: dict[str, Any]) -> str:
    """Format `document`: keys in the given order, numeric arrays one row a line.

    Raises
    ------
    ValueError
        A value that JSON does not know, such as NaN or an object.
    """
    return _pretty(document, "") + "\n"


def read_json(path: Path) -> Any:
    """Parse a JSON file.

    Raises
    ------
    FileError
        The file is empty, not UTF-8 or not JSON; says where.
    OSError
        The file cannot be read.
    """
    data = path.read_bytes()
    if not data.strip():
        raise FileError(path, "file is empty, needs a JSON document")
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise FileError(path, f"is not UTF-8 text: byte {error.start}") from None
    except RecursionError:
        raise FileError(path, "is nested too deeply") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        ended = error.pos >= len(error.doc.rstrip())
        cut = ended or error.msg.startswith("Unterminated string")
        hint = "; the file ends too early (truncated?)" if cut else ""
        raise FileError(path, f"is not JSON: {error.msg} at {place}{hint}") from None


def compact(value: Any) -> str:
    """Format `value` on one line."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from error


def _pretty(value: Any, indent: str) -> str:
    if not isinstance(value, dict | list) or not value or isinstance(value, OneLine):
        return compact(value)
    if isinstance(value, list) and not isinstance(value[0], dict | list):
        return compact(value)
    inner = indent + "  "
    if isinstance(value, list):
        whole_rows = isinstance(value[0], list)  # a row of numbers stays on one line
        items = [compact(v) if whole_rows else _pretty(v, inner) for v in value]
        opening, closing = "[", "]"
    else:
        line = compact(value)
        if len(indent) + len(line) <= _WIDTH and indent:
            return line
        items = [f"{compact(k)}: {_pretty(v, inner)}" for k, v in value.items()]
        opening, closing = "{", "}"
    body = ",\n".join(inner + item for item in items)
    return f"{opening}\n{body}\n{indent}{closing}"
