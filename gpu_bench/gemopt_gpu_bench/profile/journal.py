"""Points as they are measured, so that an interrupted profile can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemopt_gpu_bench.measure.sampling import Load
from gemopt_gpu_bench.measure.session import Point


class Journal:
    """A file of JSON lines: the settings, then one line for each point.

    Parameters
    ----------
    path
        The file.
    settings
        What was asked for; a journal of other settings is refused.
    resume
        Go on with what the file holds; else it is begun anew.

    Raises
    ------
    ValueError
        The file to resume from was written with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        self.points: dict[Load, Point] = {}
        header = json.dumps(dict(settings), sort_keys=True)
        if resume and path.exists():
            self._read(header)
        else:
            path.write_text(header + "\n")
        self._file = path.open("a")

    def _read(self, header: str) -> None:
        lines = self.path.read_text().splitlines()
        if not lines or lines[0] != header:
            raise ValueError(
                f"{self.path}: was written with other settings ({lines[:1]}); "
                "run without --resume to begin anew"
            )
        for line in lines[1:]:
            try:
                point = Point.from_json(json.loads(line))
            except json.JSONDecodeError:
                break  # the line that the interruption cut
            self.points[point.load] = point
        text = [header, *(json.dumps(p.to_json()) for p in self.points.values())]
        self.path.write_text("\n".join(text) + "\n")

    def add(self, point: Point) -> None:
        """Write a point, unless it came from this file."""
        if point.load not in self.points:
            self.points[point.load] = point
            self._file.write(json.dumps(point.to_json()) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file: the profile is complete."""
        self.close()
        self.path.unlink(missing_ok=True)
