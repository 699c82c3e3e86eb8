"""Fenced blocks of a Markdown page, and how a reader would run them."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.main import get_command

from gemopt.cli.app import app, run

#: A comment before a block says why a laptop cannot run it: it is checked only.
NEEDS = ("gpu", "engine", "torch", "network", "your files", "a clone")
SLOW = "slow"
RUN = ("sh", "python")
SHOWN = ("text", "json", "toml", "yaml", "mermaid")
_FENCE = re.compile(
    r"(?:^<!-- (?P<note>[^>]*) -->\n+)?^```(?P<language>\S*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """Code of one fenced block, where it stands, and what it needs."""

    where: str
    language: str
    code: str
    note: str

    def check(self) -> None:
        """Look at the syntax, and at the options of every gemopt command."""
        assert self.language in RUN + SHOWN, f"{self.where}: language {self.language!r}"
        assert self.note in ("", SLOW, *NEEDS), f"{self.where}: comment {self.note!r}"
        if self.language == "python":
            ast.parse(self.code, self.where)
        elif self.language == "json":
            json.loads(self.code)
        elif self.language == "toml":
            tomllib.loads(self.code)
        elif self.language == "sh":
            shell = subprocess.run(["bash", "-n"], input=self.code, text=True)
            assert shell.returncode == 0, self.where
            for line in commands(self.code):
                _check_options(line, self.where)

    def runs(self, *, slow: bool) -> bool:
        """Tell whether a laptop runs this block."""
        return self.language in RUN and (not self.note or (slow and self.note == SLOW))


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page, top to bottom."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        note = (match["note"] or "").removeprefix("needs ")
        where = f"{path.name}:{line}"
        found.append(Block(where, match["language"], match["code"], note))
    return found


def commands(code: str) -> list[str]:
    """Commands of a shell block, continued lines joined, comments left out."""
    joined = code.replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _check_options(line: str, where: str) -> None:
    """Every option that a gemopt command is given must exist."""
    words = shlex.split(line, comments=True)
    if words[:1] != ["gemopt"] or words[1:2] in ([], ["--help"], ["--version"]):
        return
    known: Any = get_command(app)
    command = known.commands.get(words[1])
    assert command is not None, f"{where}: gemopt has no command {words[1]}"
    options = {flag for p in command.params for flag in p.opts} | {"--help", "-h"}
    for word in words[2:]:
        if word in ("|", ">", "&&", "||", ";"):
            break
        if re.match(r"--?[a-z]", word):
            name = word.split("=")[0]
            assert name in options, f"{where}: gemopt {words[1]} has no {name}"


class Reader:
    """Runs the blocks of one page in a folder, in the order shown."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def run(self, block: Block) -> None:
        """Run one block; Python keeps its names from block to block."""
        if block.language == "python":
            code = compile(block.code, block.where, "exec")
            exec(code, self.names)
            return
        for line in commands(block.code):
            words = shlex.split(line, comments=True)
            if words[0] == "gemopt" and not set(words) & {"|", ">", "&&", ";"}:
                code = run(words[1:])  # one process: compiled code is loaded once
            else:
                code = subprocess.run(
                    ["bash", "-euc", f"gemopt() {{ {sys.executable} -m gemopt $@; }}"
                     f"\npython() {{ {sys.executable} $@; }}\n{line}"],
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                ).returncode  # fmt: skip
            assert code == 0, f"{block.where}: {line}: exit code {code}"
