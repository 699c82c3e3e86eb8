"""What every document of ours shares: the header check and one-line errors."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json


class Document(BaseModel):
    """Base of all parts of our files: types are strict, unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


AnyDocument = TypeVar("AnyDocument", bound=BaseModel)


def read_document(
    path: Path, schema: type[AnyDocument], format_name: str, version: int
) -> AnyDocument:
    """Read a JSON file of ours and check it against `schema`.

    Raises
    ------
    FileError
        No JSON, another format, a newer version, or a field that does not fit.
    OSError
        The file cannot be read.
    """
    raw = read_json(path)
    if not isinstance(raw, dict):
        raise FileError(path, f"holds a {type(raw).__name__}, needs a JSON object")
    check_header(path, raw, format_name, version)
    body = {k: v for k, v in raw.items() if k not in ("format", "version")}
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise FileError(path, first_problem(error, body)) from None


def check_header(
    path: Path, raw: dict[str, Any], format_name: str, version: int
) -> None:
    """Raise `FileError` unless `raw` has our format name and a version we know."""
    found = raw.get("format")
    if found != format_name:
        raise FileError(path, f"format is {shown(found)}, needs {format_name!r}")
    number = raw.get("version")
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise FileError(path, f"version is {shown(number)}, needs {version}")
    if number > version:
        raise FileError(
            path, f"version is {number}, this gemopt reads up to {version}; upgrade it"
        )


def first_problem(error: ValidationError, raw: object) -> str:
    """Describe the first broken field of `raw`: where, what is wrong, the value."""
    details = error.errors(include_url=False)
    first = details[0]
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    where = location(first["loc"], raw)
    match first["type"]:
        case "missing":
            return f"{where} is missing{more}"
        case "extra_forbidden":
            return f"{where} is no field of this format{more}"
        case "value_error":
            return f"{where}: {first['ctx']['error']}{more}"
        case "union_tag_invalid":
            ctx = first["ctx"]
            return f"{where}.kind = {ctx['tag']!r} is unknown; known: " + (
                f"{ctx['expected_tags']}{more}"
            )
        case "union_tag_not_found":
            return f"{where}.kind is missing{more}"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{where} = {shown(first['input'])}: {message}{more}"


def location(parts: tuple[int | str, ...], raw: object) -> str:
    """Write a pydantic location as ``gpus[3].latency.tile_tokens``.

    Names of union members, which are no keys of `raw`, are left out.
    """
    text = ""
    for i, part in enumerate(parts):
        if isinstance(raw, dict) and part not in raw and i + 1 < len(parts):
            continue
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
        inside = isinstance(raw, dict) and part in raw
        if inside or (isinstance(raw, list) and isinstance(part, int)):
            raw = raw[part]  # type: ignore[index]
    return text.lstrip(".") or "document"


def shown(value: object) -> str:
    """`repr` of a value, cut to fit a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
