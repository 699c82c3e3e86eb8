"""The list of commands in `gemopt --help`: grouped, never cut."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "First steps": ("generate", "profile", "build", "solve", "compare", "check"),
    "Engines": ("import", "export", "apply", "replay"),
    "Study": ("bench", "report", "bound", "graph"),
    "What there is": (
        "instances",
        "solvers",
        "check-solver",
        "warm-up",
        "show-versions",
    ),
}


class Grouped(TyperGroup):
    """Lists the commands by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section a group, each command with the first line of its help."""
        others = set(self.commands)
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self._line(name)) for name in names])
            others -= set(names)
        if others:
            with formatter.section("Others"):
                formatter.write_dl([(n, self._line(n)) for n in sorted(others)])

    def _line(self, name: str) -> str:
        return (self.commands[name].help or "").strip().partition("\n")[0]
