"""Profiles of several GPUs in one file."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from gemopt.files.atomic import write_text
from gemopt.files.json_text import dump_json, read_json
from gemopt.files.profile_file import (
    Profile,
    ProfileDoc,
    from_document,
    load_profile,
    profile_body,
    save_profile,
)
from gemopt.files.schema import Document, read_document

FORMAT = "gemopt-profiles"
VERSION = 1


class SetDoc(Document):
    """The whole document, without format and version."""

    profiles: list[ProfileDoc] = Field(min_length=1)


def save_profiles(profiles: Sequence[Profile], path: str | Path) -> None:
    """Write profiles, one for each GPU; a single one as `save_profile` does.

    Raises
    ------
    ValueError
        No profiles, or a record that JSON cannot hold.
    OSError
        The file cannot be written.
    """
    if not profiles:
        raise ValueError("profiles is empty; nothing to write")
    if len(profiles) == 1:
        save_profile(profiles[0], path)
        return
    header = {"format": FORMAT, "version": VERSION}
    bodies = [profile_body(profile) for profile in profiles]
    write_text(path, dump_json({**header, "profiles": bodies}))


def load_profiles(path: str | Path) -> tuple[Profile, ...]:
    """Read the profiles of a file, of one GPU or of several.

    Raises
    ------
    FileError
        Names the file, the field and the value that do not fit.
    OSError
        The file cannot be read.
    """
    raw = read_json(Path(path))
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        return (load_profile(path),)
    document = read_document(Path(path), SetDoc, FORMAT, VERSION)
    return tuple(map(from_document, document.profiles))
