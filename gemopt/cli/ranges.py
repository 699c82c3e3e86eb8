"""Lists as they are typed: ``a,b``, ``all``, ``0-4``, ``tiny-*``, ``solver.key=1``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gemopt.cli.common import parse_params

_RANGE = re.compile(r"(\d+)-(\d+)")
_WILD = frozenset("*?[")


def parse_seeds(text: str) -> list[int]:
    """Turn ``0-4,7`` into 0, 1, 2, 3, 4, 7.

    Raises
    ------
    ValueError
        A part that is neither a number >= 0 nor a rising range, or an empty list.
    """
    seeds: dict[int, None] = {}
    for part in (piece.strip() for piece in text.split(",")):
        found = _RANGE.fullmatch(part)
        if found:
            first, last = map(int, found.groups())
        elif part.isdecimal():
            first = last = int(part)
        else:
            raise ValueError(
                f"--seeds {text!r}: {part!r} must be a number >= 0 or a range as 0-4"
            )
        if last < first:
            raise ValueError(f"--seeds {text!r}: range {part} must rise")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


def parse_solvers(text: str) -> list[str]:
    """Turn ``a,b`` or ``all`` into names of solvers, each once.

    Raises
    ------
    ValueError
        An unknown name, with the nearest one; or an empty one.
    """
    from gemopt.run.registry import entry, solvers

    if text == "all":
        return solvers()
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name != "auto":
            entry(name)
    return names


def solver_params(
    pairs: Iterable[str] | None, names: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Options of several solvers, by solver.

    ``key=value`` goes to every solver that has such an option, ``solver.key=value`` to
    that one alone.

    Raises
    ------
    ValueError
        No solver of the list has the option, or a value is refused.
    """
    from dataclasses import fields

    from gemopt.run.auto import SEARCH
    from gemopt.run.registry import entry
    from gemopt.run.solver import make_params

    given = parse_params(pairs)
    if not given:
        return {}
    classes = {name: entry(SEARCH if name == "auto" else name).load() for name in names}
    known = {
        name: {field.name for field in fields(cls.Params)}
        for name, cls in classes.items()
    }
    found: dict[str, dict[str, Any]] = {}
    for key, value in given.items():
        owner, dot, option = key.rpartition(".")
        takers = [owner] if dot else [n for n in known if option in known[n]]
        if not takers or any(option not in known.get(name, ()) for name in takers):
            options = "; ".join(
                f"{name}: {', '.join(sorted(known[name]))}"
                for name in known
                if known[name]
            )
            raise ValueError(
                f"--param {key} is an option of none of the solvers given; {options}"
            )
        for name in takers:
            found.setdefault(name, {})[option] = value
    for name, options_of in found.items():
        make_params(classes[name], options_of)
    return found


def expand_instances(given: Iterable[str], folder: Path | None) -> list[str]:
    """Replace patterns such as ``tiny-*``, and ``all``, by names from the catalogue.

    Raises
    ------
    ValueError
        A pattern that no name fits.
    FileError
        The folder has no catalogue.
    """
    from gemopt.files import catalog

    expanded: dict[str, None] = {}
    for text in given:
        pattern = "*" if text == "all" else text
        if not _WILD & set(pattern) or Path(text).exists():
            expanded[text] = None
            continue
        root = catalog.folder(folder)
        names = [entry.name for entry in catalog.read_catalog(root).instances]
        fits = [name for name in names if fnmatchcase(name, pattern)]
        if not fits:
            raise ValueError(f"{root / 'catalog.json'}: no instance fits {text!r}")
        expanded.update(dict.fromkeys(fits))
    return list(expanded)
