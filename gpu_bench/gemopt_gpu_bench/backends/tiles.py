"""Which tiles the grouped kernel uses, chosen from the size of the whole step."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import ceil, inf
from pathlib import Path
from typing import Any

GROUP = 8  # row tiles of one expert that share weight tiles while these are in cache
TABLES_FILE = Path(__file__).parent / "tile_tables.json"


@dataclass(frozen=True)
class GemmTile:
    """Tile of one GEMM: `columns` outputs at `depth` inner elements a step.

    `swap` multiplies weights by tokens, which suits few tokens.
    """

    columns: int
    depth: int
    warps: int
    stages: int
    swap: bool = False


@dataclass(frozen=True)
class KernelConfig:
    """Rows of a tile (in tokens of one expert) and the tiles of both GEMMs."""

    block_m: int
    gate_up: GemmTile
    down: GemmTile

    @property
    def tail(self) -> int:
        """Rows up to which a last tile takes half the work; 0 where it never does."""
        return self.block_m // 2 if self.block_m >= 128 else 0

    @property
    def step_rows(self) -> int:
        """Tokens of an expert between two steps of the latency."""
        return self.tail or self.block_m


@dataclass(frozen=True)
class TileTable:
    """Kernel configuration by mean tokens per expert of the whole step.

    Parameters
    ----------
    rows
        Pairs (largest mean tokens per expert, configuration) with strictly rising
        limits, the last one infinite. The mean is the step's tokens over all experts
        of the layer: it never depends on one GPU's share, which a search could exploit.

    Raises
    ------
    ValueError
        No rows, limits that do not rise, or a last limit that is finite.
    """

    rows: tuple[tuple[float, KernelConfig], ...]

    def __post_init__(self) -> None:
        if not self.rows or self.rows[-1][0] != inf:
            raise ValueError("rows must end with an infinite limit")
        for (low, _), (high, _) in pairwise(self.rows):
            if high <= low:
                raise ValueError(f"rows has limit {high} after {low}; sort them")

    def config(self, mean_tokens: float) -> KernelConfig:
        """Configuration for a step with `mean_tokens` per expert."""
        return next(config for limit, config in self.rows if mean_tokens <= limit)

    def merged(self) -> "TileTable":
        """Return the same table without rows that the next one repeats."""
        kept = [row for row, after in pairwise(self.rows) if row[1] != after[1]] + [
            self.rows[-1]
        ]
        return TileTable(tuple(kept))

    def to_json(self) -> list[dict[str, Any]]:
        """Rows as JSON values; an infinite limit becomes None."""
        return [
            {"max_mean_tokens": None if limit == inf else limit, **asdict(config)}
            for limit, config in self.rows
        ]

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> "TileTable":
        """Read what `to_json` wrote."""
        return cls(
            tuple(
                (
                    inf if row["max_mean_tokens"] is None else row["max_mean_tokens"],
                    KernelConfig(
                        row["block_m"],
                        GemmTile(**row["gate_up"]),
                        GemmTile(**row["down"]),
                    ),
                )
                for row in rows
            )
        )


def default_table(experts: int, hidden: int, intermediate: int) -> TileTable:
    """Return sound tiles for any shape, by the rules that tuning showed on Hopper.

    Few columns where few experts would leave multiprocessors idle, many otherwise.
    """
    rows: list[tuple[float, KernelConfig]] = []
    for limit, block_m in ((16.0, 16), (32.0, 32), (64.0, 64)):
        narrow = 64 if experts * ceil(hidden / 128) < 264 else 128
        gate = GemmTile(
            64 if experts * intermediate < 64 * 264 else 128, 64, 4, 4, True
        )
        rows.append(
            (limit, KernelConfig(block_m, gate, GemmTile(narrow, 128, 4, 4, True)))
        )
    gate = GemmTile(128, 64, 8, 3)
    small = experts * ceil(hidden / 256) < 132
    down = GemmTile(128, 64, 4, 4) if small else GemmTile(256, 64, 8, 3)
    rows.append((256.0, KernelConfig(128, gate, down)))
    rows.append((inf, KernelConfig(128, gate, GemmTile(256, 64, 8, 3))))
    return TileTable(tuple(rows)).merged()


def table_key(hidden: int, intermediate: int, experts: int) -> str:
    """Name of a shape's tuned table in `TABLES_FILE`."""
    return f"{hidden}x{intermediate}e{experts}"


def known_table(hidden: int, intermediate: int, experts: int) -> TileTable:
    """Tuned table of this shape, or `default_table` when none is stored."""
    tables = json.loads(TABLES_FILE.read_text()) if TABLES_FILE.exists() else {}
    rows = tables.get(table_key(hidden, intermediate, experts))
    if rows is None:
        return default_table(experts, hidden, intermediate)
    return TileTable.from_json(rows)
