"""The improvements of a run in time order, and their files."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas


class TracePoint(NamedTuple):
    """State of a run at an improvement of its objective or bound."""

    elapsed: float  #: seconds
    iteration: int
    best: float  #: us
    bound: float  #: us


@dataclass(frozen=True)
class Trace:
    """Improvements of a run in time order."""

    points: tuple[TracePoint, ...] = ()

    def to_frame(self) -> pandas.DataFrame:
        """Return a data frame with one row per improvement; needs pandas.

        Raises
        ------
        ImportError
            pandas is not installed; `columns` needs nothing.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "Trace.to_frame needs pandas (pip install pandas); "
                "Trace.columns() gives the same as lists"
            ) from None
        return pandas.DataFrame(self.columns())

    def columns(self) -> dict[str, list[Any]]:
        """Return elapsed (s), iteration, best (us) and bound (us) as lists."""
        return {
            name: [getattr(point, name) for point in self.points]
            for name in TracePoint._fields
        }

    def to_csv(self, path: str | Path) -> None:
        """Write one line per improvement, with a header."""
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(TracePoint._fields)
            writer.writerows(self.points)

    @classmethod
    def from_csv(cls, path: str | Path) -> Trace:
        """Read what `to_csv` wrote."""
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return cls(tuple(_point(row) for row in rows))

    def to_jsonl(self, path: str | Path) -> None:
        """Write one JSON object per improvement; infinite values become null."""
        lines = [
            json.dumps({k: v if math.isfinite(v) else None for k, v in _items(point)})
            for point in self.points
        ]
        Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Trace:
        """Read what `to_jsonl` wrote."""
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return cls(tuple(_point(json.loads(line)) for line in lines))


def _items(point: TracePoint) -> list[tuple[str, float]]:
    return list(point._asdict().items())


def _point(row: dict[str, str | float | None]) -> TracePoint:
    def number(key: str, missing: float) -> float:
        value = row[key]
        return missing if value is None else float(value)

    return TracePoint(
        number("elapsed", 0.0),
        int(number("iteration", 0)),
        number("best", math.inf),
        number("bound", -math.inf),
    )
