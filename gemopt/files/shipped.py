"""Instances and profiles that come with the package, found by name from anywhere."""

from pathlib import Path

from gemopt.files.errors import FileError
from gemopt.words import did_you_mean

_PACKAGE = Path(__file__).parents[1]
SUFFIX = ".profile.json"


def shipped_folder() -> Path:
    """Folder of the shipped instances: in the wheel, or in a checkout beside gemopt."""
    inside = _PACKAGE / "instances"
    return inside if inside.is_dir() else _PACKAGE.parent / "instances"


def profile_names() -> dict[str, Path]:
    """Shipped profiles of whole GPUs: ``h100/qwen3-30b-a3b`` -> file."""
    found = {}
    for path in sorted((shipped_folder() / "profiles").glob(f"*{SUFFIX}")):
        gpu, _, rest = path.name.removesuffix(SUFFIX).partition("-")
        model, _, last = rest.rpartition("-")
        name = f"{gpu}/{model}" if last[:1] == "e" else f"{gpu}/{rest}"
        found[name] = path
    return found


def profile_path(name: str | Path) -> Path:
    """File of a profile: a path as it is, or a shipped one by name.

    Parameters
    ----------
    name
        A path, or GPU and model such as ``h100/Qwen3-30B-A3B``, capitals as you like.

    Raises
    ------
    FileError
        Neither a file nor the name of a shipped profile; the message names the nearest.
    """
    path = Path(name)
    if path.is_file() or path.suffix == ".json":
        return path
    known = profile_names()
    key = str(name).lower()
    if key not in known:
        hint = did_you_mean(key, known)
        names = ", ".join(known) or "none"
        raise FileError(
            path, f"is no file and no shipped profile{hint}; shipped: {names}"
        )
    return known[key]
