"""``gemopt solvers``: what can solve, and with which options."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gemopt.cli.common import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from gemopt.run.registry import Entry

NameArg = Annotated[
    str | None, typer.Argument(help="One solver: its options and presets.")
]


def command(name: NameArg = None, as_json: JsonOption = False) -> int:
    """List the solvers, or the options and presets of one.

    \b
    For example:
      gemopt solvers
      gemopt solvers search
    """
    from gemopt.run.registry import entries, entry

    if name is not None:
        return _one(entry(name), as_json)
    rows = [_row(each) for _, each in sorted(entries().items())]
    if as_json:
        print_json(rows)
        return 0
    print_table(
        ["solver", "from", "what it does"],
        [[row["name"], row["from"], row["error"] or row["summary"]] for row in rows],
    )
    return 0


def _row(entry: Entry) -> dict[str, Any]:
    """Facts of a solver; one that cannot be imported has its error instead."""
    facts: dict[str, Any] = {
        "name": entry.name,
        "installed": entry.installed,
        "requires": list(entry.requires),
        "from": entry.origin,
        "summary": "",
        "error": None,
    }
    try:
        facts["summary"] = str(entry.load().summary)
    except Exception as error:  # a third party's module may raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError):
            text = f"{type(error).__name__}: {text}"
            facts["installed"] = False
        facts["error"] = text
    return facts


def _one(entry: Entry, as_json: bool) -> int:
    """Show what a solver does, and its options with their defaults."""
    cls = entry.load()
    options = [
        {"name": field.name, "default": _default(field)}
        for field in dataclasses.fields(cls.Params)
    ]
    module = sys.modules[cls.Params.__module__]
    presets = sorted(getattr(module, "PRESETS", {}))
    if as_json:
        facts = {"name": entry.name, "summary": cls.summary, "exact": cls.exact}
        print_json({**facts, "options": options, "presets": presets})
        return 0
    print(f"{entry.name}: {cls.summary}")
    if presets:
        print(f"presets (--preset): {', '.join(presets)}")
    if not options:
        print("no options")
        return 0
    print()
    print((cls.Params.__doc__ or "").strip().partition("\n")[0])
    print_table(
        ["option (-p NAME=VALUE)", "default"],
        [[str(o["name"]), str(o["default"])] for o in options],
    )
    return 0


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    made = field.default_factory
    return made() if made is not dataclasses.MISSING else "(needed)"
