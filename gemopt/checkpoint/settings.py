"""Settings that name experts: lists of modules that are quantised in another way.

They are spelled as tensors are, with or without what precedes ``layers`` (AutoRound,
compressed-tensors), as regular expressions (GPTQ's ``dynamic``, ``re:``), or with
wildcards (ModelOpt). A name of one expert follows the map. A pattern that takes some
experts and not others is refused, unless these keep their numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gemopt.arrays import Ints
from gemopt.checkpoint.checkpoint import Checkpoint
from gemopt.files.errors import FileError
from gemopt.files.json_text import read_json

#: Files that hold words of the model, no names of its modules.
_WORDS = ("tokenizer", "vocab", "special_tokens", "added_tokens", "chat_template")
_DOT = r"(?:\\?\.|\[\.\])"  #: plain, or as a regular expression spells it
#: What may stand between ``layers`` and ``experts``, then the expert.
_NAME = re.compile(
    rf"(?P<layer>layers{_DOT}(?P<number>\d+){_DOT}(?:(?!layers|experts).)*)?"
    rf"(?<!\w)experts(?P<dot>{_DOT}|_)"
    r"(?P<expert>\[[^\]]*\][+*]?|\([^)]*\)[+*]?|(?:\\[dw]|[^.\\/\s\"',:])+|\.[*+])"
)
_ALL = {"*", ".*", ".+", r"\d+", r"\d*", "[0-9]+", "[0-9]*", "[^.]+", "[^.]*", r"\w+"}
_ALL |= {f"({each})" for each in _ALL}
_SHARED = re.compile(r"[*+]?[A-Za-z_]\w*\*?")  #: a tensor or scale of all experts
_MODEL = {"model", "language_model", "text_model", "re"}


def renamed_settings(source: Checkpoint, rows: Mapping[int, Ints]) -> dict[str, str]:
    """New text of each file whose settings name experts that get another number.

    Parameters
    ----------
    source
        The checkpoint.
    rows
        Old expert of each new number, int64 ``[experts]``, by hidden layer.

    Raises
    ------
    FileError
        A setting that cannot follow its experts; names the file and the setting.
    """
    names = _Names(rows)
    texts = {}
    for path in source.other_files():
        try:
            if path.suffix == ".json" and not path.name.startswith(_WORDS):
                before = read_json(path)
                after = names.renamed(before)
                if after != before:
                    texts[path.name] = json.dumps(after, indent=2) + "\n"
            elif path.suffix in (".yaml", ".yml"):
                text = path.read_text(encoding="utf-8", errors="replace")
                after = "".join(map(names.follow, text.splitlines(keepends=True)))
                if after != text:
                    texts[path.name] = after
        except FileError:
            raise
        except ValueError as error:
            raise FileError(path, str(error)) from None
    return texts


class _Names:
    """New names for old ones, given the rows of `renamed_settings`."""

    def __init__(self, rows: Mapping[int, Ints]) -> None:
        self.old2new = {layer: np.argsort(row) for layer, row in rows.items()}

    def renamed(self, value: Any, inside: str = "") -> Any:
        """Follow the experts in keys and values; `inside` is the key above."""
        if isinstance(value, dict):
            result = {}
            for key, below in value.items():
                result[self._key(key, inside)] = self.renamed(below, key)
            return result
        if isinstance(value, list):
            return [self.renamed(item) for item in value]
        return self.follow(value) if isinstance(value, str) else value

    def _key(self, key: str, inside: str) -> str:
        if key.isdecimal() and re.search(r"experts$", inside):
            return self.follow(f"{inside}.{key}").rpartition(".")[2]
        return self.follow(key)

    def follow(self, text: str) -> str:
        """Return `text` with the new numbers of the experts that it names."""
        return _NAME.sub(self._number, text) if "experts" in text else text

    def _number(self, match: re.Match[str]) -> str:
        expert, text = match["expert"], match.string
        if expert in _ALL or _SHARED.fullmatch(expert):
            return match[0]
        if match["dot"] == "_" and not expert.isdecimal():
            return match[0]  # a word such as experts_8bit
        moved = self._moved(match)
        if not moved:
            return match[0]
        if not expert.isdecimal():
            changes = any((each != np.arange(len(each))).any() for each in moved)
            if not changes:
                return match[0]
            raise ValueError(
                f"setting {text.strip()!r} takes some experts and not others; name "
                "each expert, or leave the checkpoint as it is and give the engine a "
                "map with `gemopt export`"
            )
        old = int(expert)
        new = {int(each[old]) for each in moved if old < len(each)}
        if len(new) > 1 or (new and new != {old} and not match["layer"]):
            raise ValueError(
                f"setting {text.strip()!r} names expert {old} of several layers, which "
                "gets another number in each; name each layer, or leave the checkpoint "
                "as it is and give the engine a map with `gemopt export`"
            )
        start = match.start("expert") - match.start()
        return match[0][:start] + str(new.pop() if new else old)

    def _moved(self, match: re.Match[str]) -> list[Ints]:
        """Maps of the layers that a name may mean; none where it means others."""
        before = match.string[: match.start()]
        prefix = re.split(r"[\s\"',]", before)[-1] if match["layer"] else ""
        words = re.findall(r"[A-Za-z_]\w*", re.sub(r"\\[A-Za-z]", "", prefix))
        if not set(words) <= _MODEL:
            return []  # a vision tower, a draft head
        if match["layer"]:
            layer = int(match["number"])
            return [self.old2new[layer]] if layer in self.old2new else []
        return list(self.old2new.values())
