"""Files that ranks of one server wrote: which belong together, which are missing."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from gemopt.files.errors import FileError

_RANK = re.compile(r"rank[._-]?(\d+)(?:[._-]?of[._-]?(\d+))?", re.IGNORECASE)


class RankName(NamedTuple):
    """A file name without its ranks, the ranks, and how many there are if it says."""

    rest: str
    ranks: tuple[int, ...]
    sizes: tuple[int, ...]


def rank_name(path: Path) -> RankName:
    """Find ``rank3``, ``Rank-3``, ``rank3of8``... anywhere in a name, or several times.

    The rest has a star for each rank, so files of one recording have the same rest.
    """
    found = _RANK.findall(path.stem)
    ranks = tuple(int(rank) for rank, _ in found)
    sizes = tuple(int(size or 0) for _, size in found)
    return RankName(_RANK.sub("rank*", path.stem), ranks, sizes)


def by_recording(files: list[Path]) -> dict[str, list[Path]]:
    """Files that differ in their ranks only, in the order in which each first comes.

    Raises
    ------
    FileError
        A rank below the highest one, or below the number in the names, has no file.
    """
    names = {path: rank_name(path) for path in files}
    for place in range(max((len(name.ranks) for name in names.values()), default=0)):
        placed = [name for name in names.values() if len(name.ranks) > place]
        there = {name.ranks[place] for name in placed}
        size = max(name.sizes[place] for name in placed)
        require_all(files[0].parent, there, size)
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


def require_all(folder: Path, ranks: Collection[int], size: int = 0) -> None:
    """Check that no rank below the highest one, or below `size`, is missing.

    Raises
    ------
    FileError
        Names the folder and the ranks.
    """
    missing = [rank for rank in range(max(size, *ranks)) if rank not in ranks]
    if missing:
        raise FileError(
            folder,
            f"has files of ranks {_words(ranks)}; rank {_words(missing)} is missing, "
            "and with it the tokens that it counted",
        )


def said(ranks: Collection[int]) -> str:
    """Say which ranks were summed: no file tells that there were more."""
    return _said(_words(ranks))


def said_of(files: Collection[Path]) -> str:
    """Say which ranks the names of files have, or that none has a rank."""
    ranks = sorted({rank_name(path).ranks for path in files})
    if all(len(each) == 1 for each in ranks):
        return said([rank for (rank,) in ranks])
    if any(ranks):
        return _said(", ".join("-".join(map(str, each)) for each in ranks))
    return (
        f"{len(files)} files follow in time; those of several ranks need rank0, "
        "rank1... in their names"
    )


def _said(words: str) -> str:
    return f"ranks summed: {words}; if there were others, their tokens are missing"


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
