"""Latency as a line in tokens, active experts and tiles."""

from dataclasses import dataclass

from numpy.typing import ArrayLike

from gemopt.latency.base import (
    LINE,
    Floats,
    LatencyModel,
    Line,
    Row,
    check_tile,
    features,
)


@dataclass(frozen=True)
class TileActive(LatencyModel):
    """``base + per_active * active + per_tile * tiles + per_token * tokens``.

    The default for measured profiles: reading an expert's weights costs `per_active`
    whatever its tokens, and a grouped kernel works in tiles of `tile` tokens.

    Parameters
    ----------
    base_us, per_active_us, per_tile_us, per_token_us
        Microseconds, each >= 0, not all zero.
    tile
        Rows of one tile (BLOCK_M of the kernel), in tokens.

    Raises
    ------
    ValueError
        A coefficient is negative, NaN or infinite, all are zero, or `tile` < 1.
    """

    base_us: float = 0.0
    per_active_us: float = 0.0
    per_tile_us: float = 0.0
    per_token_us: float = 0.0
    tile: int = 64

    def __post_init__(self) -> None:
        check_tile(self.tile)
        if not self.line.any_positive():
            raise ValueError("all coefficients are zero: zero latency everywhere")

    @property
    def line(self) -> Line:
        """The four coefficients."""
        return Line(
            self.base_us, self.per_active_us, self.per_tile_us, self.per_token_us
        )

    def rows(self) -> tuple[Row, ...]:
        return (Row(LINE, tile=int(self.tile), lines=(self.line,)),)

    def us(self, shares: ArrayLike, step_tokens: ArrayLike | None = None) -> Floats:
        return self.line.us(*features(shares, self.tile))
