"""What a replay measured, beside what was predicted. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt_gpu_bench.stats import bootstrap_interval

Floats = NDArray[np.float64]
LEVEL = 0.95  # of all intervals
FORMAT = "gemopt-replay"
VERSION = 1


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % confidence interval; NaN ends where none can be had."""

    mean: float
    low: float
    high: float

    def to_json(self) -> list[float | None]:
        """[mean, low, high], None for what is unknown."""
        return [None if value != value else value for value in (
            self.mean, self.low, self.high
        )]  # fmt: skip


@dataclass(frozen=True)
class Gain:
    """Time that a placement saves against another one, as shares of the latter's.

    Attributes
    ----------
    predicted
        By the latency models.
    repeats
        Measured; the interval covers what repeated measurement scatters.
    steps
        Measured; the interval covers also what steps scatter, as if they were a sample
        of the traffic.
    """

    predicted: float
    repeats: Interval
    steps: Interval


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """Latencies of all loads of a `ReplayPlan`.

    Attributes
    ----------
    names
        Placements; the first one is the baseline.
    us
        Measured latency of every GPU, us
        ``[repeats, placements, steps, layers, gpus]``.
    predicted_us
        By the latency models, us ``[placements, steps, layers, gpus]``.
    weights
        How often each step counts, ``[steps]``.
    throttled
        Share of the loads that were measured with clocks held down.
    devices
        Devices that measured side by side.
    """

    names: tuple[str, ...]
    us: Floats
    predicted_us: Floats
    weights: Floats
    throttled: float = 0.0
    devices: int = 1

    @property
    def totals(self) -> Floats:
        """Slowest GPU, summed over steps and layers, us ``[repeats, placements]``."""
        return _total(self.us, self.weights)

    @property
    def predicted(self) -> Floats:
        """The same by the latency models, us ``[placements]``."""
        return _total(self.predicted_us, self.weights)

    def measured(self, placement: int) -> Interval:
        """Sum over steps and layers of the slowest GPU, over the repeats, us."""
        return t_interval(self.totals[:, placement])

    def error(self, placement: int) -> float:
        """Prediction over measurement, less 1."""
        return float(self.predicted[placement] / self.totals[:, placement].mean() - 1.0)

    def load_mape(self) -> float:
        """Mean relative error of the predictions of single loads."""
        mean = self.us.mean(axis=0)
        used = mean > 0
        return float(np.abs(self.predicted_us[used] / mean[used] - 1.0).mean())

    def gain(self, placement: int, baseline: int = 0) -> Gain:
        """Time that `placement` saves against `baseline`."""
        totals, predicted = self.totals, self.predicted
        ratios = 1.0 - totals[:, placement] / totals[:, baseline]
        step = self.us.max(axis=4).sum(axis=3).mean(axis=0) * self.weights
        mine, other = step[placement], step[baseline]

        def saved(a: Floats, b: Floats) -> float:
            return float(1.0 - a.sum() / b.sum())

        low, high = nan, nan
        if len(mine) > 1:
            low, high = bootstrap_interval([mine, other], saved, level=LEVEL)
        return Gain(
            float(1.0 - predicted[placement] / predicted[baseline]),
            t_interval(ratios),
            Interval(saved(mine, other), low, high),
        )

    def summary(self) -> list[dict[str, Any]]:
        """One record of JSON values for each placement, against the baseline."""
        records = []
        for index, name in enumerate(self.names):
            gain = self.gain(index)
            records.append(
                {
                    "placement": name,
                    "predicted_us": float(self.predicted[index]),
                    "measured_us": self.measured(index).to_json(),
                    "prediction_error": self.error(index),
                    "predicted_improvement": gain.predicted,
                    "improvement": gain.repeats.to_json(),
                    "improvement_over_steps": gain.steps.to_json(),
                }
            )
        return records

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values; raw latencies rounded to 0.01 us."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "baseline": self.names[0],
            "placements": self.summary(),
            "load_mape": self.load_mape(),
            "throttled": self.throttled,
            "devices": self.devices,
            "weights": self.weights.tolist(),
            "us": np.round(self.us, 2).tolist(),
            "predicted_us": np.round(self.predicted_us, 2).tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ReplayResult:
        """Read what `to_json` wrote.

        Raises
        ------
        ValueError
            Another kind of document.
        """
        if (data.get("format"), data.get("version")) != (FORMAT, VERSION):
            raise ValueError(
                f"format = {data.get('format')!r}, version = {data.get('version')!r}; "
                f"needs {FORMAT!r}, {VERSION}"
            )
        return cls(
            tuple(record["placement"] for record in data["placements"]),
            np.array(data["us"]),
            np.array(data["predicted_us"]),
            np.array(data["weights"]),
            data["throttled"],
            data["devices"],
        )

    def save(self, path: str | Path, record: Mapping[str, Any] | None = None) -> None:
        """Write the result as JSON, with `record` of what was replayed on what.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        from gemopt.files.atomic import write_text
        from gemopt.files.json_text import dump_json

        write_text(path, dump_json({**self.to_json(), "record": dict(record or {})}))


def t_interval(values: Sequence[float] | Floats) -> Interval:
    """Mean and interval of few repeats, by Student's t distribution."""
    from scipy.stats import t

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, nan, nan)
    margin = t.ppf((1 + LEVEL) / 2, len(array) - 1) * array.std(ddof=1)
    half = float(margin / sqrt(len(array)))
    return Interval(mean, mean - half, mean + half)


def _total(us: Floats, weights: Floats) -> Floats:
    """Objective of latencies us ``[..., steps, layers, gpus]``: us ``[...]``."""
    return np.asarray((us.max(axis=-1).sum(axis=-1) * weights).sum(axis=-1))
