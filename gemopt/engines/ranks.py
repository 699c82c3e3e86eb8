"""Files that ranks of one server wrote: which belong together, which are missing."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from gemopt.files.errors import FileError

_RANK = re.compile(r"rank[._-]?(\d+)", re.IGNORECASE)


class RankName(NamedTuple):
    """A file name apart from its ranks, and the ranks."""

    rest: str
    ranks: tuple[int, ...]


def rank_name(path: Path) -> RankName:
    """Find ``rank3``, ``rank_3``, ``Rank-3``... anywhere in a name, once or more often.

    The rest has a star for each rank, so files of one recording have the same rest.
    """
    ranks = tuple(int(text) for text in _RANK.findall(path.stem))
    return RankName(_RANK.sub("rank*", path.stem), ranks)


def by_recording(files: list[Path]) -> dict[str, list[Path]]:
    """Files that differ in their ranks only, in the order in which each first comes.

    Raises
    ------
    FileError
        A rank below the highest one has no file, in the folder or in one recording.
    """
    names = {path: rank_name(path) for path in files}
    for place in range(max((len(name.ranks) for name in names.values()), default=0)):
        there = {n.ranks[place] for n in names.values() if len(n.ranks) > place}
        require_all(files[0].parent, there)
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(names[path].rest, []).append(path)
    return {
        rest: sorted(group, key=lambda path: names[path].ranks)
        for rest, group in groups.items()
    }


def absent(group: Collection[Path], files: Collection[Path]) -> str:
    """Ranks that other recordings have and this one lacks, in words; else nothing."""
    own = {rank_name(path).ranks for path in group}
    size = {len(ranks) for ranks in own}
    others = {n.ranks for n in map(rank_name, files) if len(n.ranks) in size}
    missing = sorted(others - own)
    return ", ".join("-".join(map(str, ranks)) for ranks in missing)


def require_all(folder: Path, ranks: Collection[int]) -> None:
    """Check that no rank below the highest one is missing.

    Raises
    ------
    FileError
        Names the folder and the ranks.
    """
    missing = [rank for rank in range(max(ranks)) if rank not in ranks]
    if missing:
        raise FileError(
            folder,
            f"has files of ranks {_words(ranks)}; rank {_words(missing)} is missing, "
            "and with it the tokens that it counted",
        )


def said(ranks: Collection[int]) -> str:
    """Say which ranks were summed: no file tells that there were more."""
    return (
        f"ranks summed: {_words(ranks)}; if there were others, their tokens are missing"
    )


def _words(ranks: Collection[int]) -> str:
    """Ranks as people write them, such as 0-3, 5."""
    parts: list[list[int]] = []
    for rank in sorted(ranks):
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(
        str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts
    )
