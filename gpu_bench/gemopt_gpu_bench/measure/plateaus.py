"""The staircase of evenly loaded experts: where a kernel with known tiles is flat."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from gemopt_gpu_bench.backends.tiles import GROUP, KernelConfig, TileTable

FEW_TILES = 2  # row tiles of an expert up to which every plateau is worth a point


@dataclass(frozen=True)
class Plateau:
    """Loads for which every expert has as many row tiles, under one configuration.

    Attributes
    ----------
    low, end
        It holds loads of `low` < tokens <= `end`.
    begin
        First tokens for which all experts have arrived on it: past `low` they step up
        one after another.
    tiles
        Row tiles of each expert.
    full
        False where the last tile of each expert is a tail, of at most half the rows.
    config
        Tiles of the kernel.
    """

    low: int
    end: int
    begin: int
    tiles: int
    full: bool
    config: KernelConfig

    @property
    def rank(self) -> int:
        """Priority of a point on it; 0 is the highest.

        First come the first row tiles and each tile that opens a new group, before
        which weights are read once more, then full tiles, then tails.
        """
        opens = self.tiles % GROUP == 1 or self.tiles <= FEW_TILES
        large = self.tiles * self.config.block_m >= 64
        if opens and large and (self.full or self.tiles <= FEW_TILES):
            return 0
        return 1 if self.full else 2


def plateaus(table: TileTable, experts: int, max_tokens: int) -> list[Plateau]:
    """Plateaus above one token per expert, in rising order.

    Parameters
    ----------
    table
        Tiles of the kernel.
    experts
        Experts on the GPU, evenly loaded.
    max_tokens
        End of the last plateau.
    """
    ends = {max_tokens}
    low_mean = 0.0
    for high_mean, config in table.rows:
        top = min(high_mean, max_tokens / experts)
        if high_mean != inf:
            ends.add(int(top * experts))
        first = int(low_mean // config.step_rows) + 1
        rows = range(first * config.step_rows, ceil(top), config.step_rows)
        ends |= {k * experts for k in rows}
        low_mean = high_mean
    found, low = [], experts
    for end in sorted(end for end in ends if experts < end <= max_tokens):
        found.append(_plateau(table, experts, low, end))
        low = end
    return found


def _plateau(table: TileTable, experts: int, low: int, end: int) -> Plateau:
    config = table.config(end / experts)
    rows = ceil(end / experts)
    tiles = ceil(rows / config.block_m)
    rest = rows - (tiles - 1) * config.block_m
    # At a switch that is no boundary of the new tiles all experts change at once.
    stepped = low == experts or (low // experts) % config.step_rows == 0
    begin = min(low + experts, end) if stepped and low > experts else low + 1
    return Plateau(low, end, begin, tiles, rest > config.tail, config)


def full_twin(plateau: Plateau, all_of_them: Sequence[Plateau]) -> Plateau | None:
    """Find the plateau of as many row tiles, all full, under the same tiles' rows."""
    for other in all_of_them:
        same = other.config.block_m == plateau.config.block_m
        if same and other.full and other.tiles == plateau.tiles:
            return other
    return None
