"""``gemopt solvers``: what can solve."""

from __future__ import annotations

from typing import Any

from gemopt.cli.common import JsonOption, print_json, print_table


def command(as_json: JsonOption = False) -> int:
    """List the solvers, ours and third parties', and whether they can run here."""
    from gemopt.run.registry import entries

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name,
            "installed": entry.installed,
            "requires": list(entry.requires),
            "from": entry.origin,
            "summary": entry.load().summary if entry.installed else "",
        }
        for _, entry in sorted(entries().items())
    ]
    if as_json:
        print_json(rows)
        return 0
    print_table(
        ["solver", "installed", "from", "needs", "what it does"],
        [
            [
                str(row["name"]),
                "yes" if row["installed"] else "no",
                str(row["from"]),
                ", ".join(row["requires"]) or "-",
                str(row["summary"]),
            ]
            for row in rows
        ],
    )
    return 0
