"""Points as they are measured, so that an interrupted profile can go on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemopt.files import journal
from gemopt_gpu_bench.measure.sampling import Load
from gemopt_gpu_bench.measure.session import Point


class Journal(journal.Journal):
    """The settings of a profile, then one line for each point.

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
        if not resume:
            path.unlink(missing_ok=True)
        super().__init__(path)
        header = json.loads(json.dumps(dict(settings), sort_keys=True))
        if not self.entries:
            self.add(header)
        elif self.entries[0] != header:
            self.close()
            raise ValueError(
                f"{path}: was written with other settings ({self.entries[0]}); "
                "run without --resume to begin anew"
            )
        points = map(Point.from_json, self.entries[1:])
        self.points: dict[Load, Point] = {point.load: point for point in points}

    def note(self, point: Point) -> None:
        """Write a point, unless it came from this file."""
        if point.load not in self.points:
            self.points[point.load] = point
            self.add(point.to_json())
