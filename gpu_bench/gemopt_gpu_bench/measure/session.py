"""Measures loads on one device: pauses, clocks, anchors, points that do not fit."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from gemopt_gpu_bench.backends.base import Backend
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.hosts.devices import ROUGH, Ceilings
from gemopt_gpu_bench.measure.clocks import Clocks, Reading
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import Load
from gemopt_gpu_bench.measure.timing import KEPT, Pacer, Timer, launches_per_sample
from gemopt_gpu_bench.stats import summary

ANCHOR_EVERY = 16  # points between two measurements of the anchor
HOT_US = 150_000.0  # work before a hot sample: clocks settle within 0.1 s


@dataclass(frozen=True)
class Point:
    """One measured load: us per call, the card's state, seconds since the start.

    `samples_us` is empty where the load did not fit; `note` says why.
    """

    load: Load
    samples_us: tuple[float, ...]
    at_s: float = 0.0
    reading: Reading | None = None
    note: str = ""

    @property
    def us(self) -> float:
        """Median of the samples."""
        return summary(self.samples_us).median

    @property
    def throttled(self) -> bool:
        """Tell whether clocks were held down while this was measured."""
        return self.reading is not None and self.reading.throttled

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "kind": self.load.kind,
            "mean_tokens": self.load.mean_tokens,
            "counts": list(self.load.counts),
            "samples_us": list(self.samples_us),
            "at_s": self.at_s,
            "reading": None if self.reading is None else asdict(self.reading),
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Point":
        """Read what `to_json` wrote."""
        reading = data["reading"]
        return cls(
            Load(data["kind"], data["mean_tokens"], tuple(data["counts"])),
            tuple(data["samples_us"]),
            data["at_s"],
            None if reading is None else Reading(**reading),
            data["note"],
        )


@dataclass
class Session:
    """One layer, backend and timer on one device.

    Attributes
    ----------
    layer, backend, timer, clocks, pacer
        What is measured and how.
    ceilings
        Rates that size the samples.
    anchor
        A load that is measured again and again to see drift; None for none.
    known
        Points of an interrupted run, taken instead of measuring again.
    """

    layer: ExpertLayer
    backend: Backend
    timer: Timer
    clocks: Clocks
    pacer: Pacer
    ceilings: Ceilings = ROUGH
    anchor: Load | None = None
    known: dict[Load, Point] = field(default_factory=dict)
    anchors: list[Point] = field(default_factory=list)
    keep: Any = None  #: driver objects that must live as long as the timer
    _began: float = field(default_factory=time.perf_counter)
    _since_anchor: int = 0

    def measure_all(
        self,
        loads: Iterable[Load],
        on_point: Callable[[Point], None] = lambda point: None,
    ) -> list[Point]:
        """Measure `loads` in their order, the anchor between them.

        `on_point` is called with every point.
        """
        points = []
        for load in loads:
            if load in self.known:
                point = self.known[load]
            else:
                self._drift()
                point = self.measure(load)
            points.append(point)
            on_point(point)
        return points

    def _drift(self) -> None:
        if self.anchor is not None and self._since_anchor % ANCHOR_EVERY == 0:
            self.anchors.append(self.measure(self.anchor))
        self._since_anchor += 1

    def measure(self, load: Load, kept: int = KEPT) -> Point:
        """Measure one load; one that does not fit into memory gives an empty point."""
        at_s = round(time.perf_counter() - self._began, 3)
        try:
            samples, reading = self._samples(load, kept)
        except torch.OutOfMemoryError:
            devices.empty_cache(self.layer.x.device)
            note = f"skipped: out of memory at {load.tokens} tokens"
            return Point(load, (), at_s, None, note)
        self.pacer.rest(sum(samples) * self.layer.copies_for(load.counts))
        rounded = tuple(round(us, 3) for us in samples)
        return Point(load, rounded, at_s, reading)

    def measure_hot(self, load: Load) -> Point:
        """Measure after `HOT_US` of the same work without a pause."""
        copies = self.layer.copies_for(load.counts)
        launches = launches_per_sample(copies, self._floor_us(load))
        sample_us = launches * max(1.0, self._samples(load, 1)[0][0])
        kept = max(4, min(400, round(HOT_US / sample_us)))
        point = self.measure(load, kept)
        last = point.samples_us[len(point.samples_us) // 2 :][-KEPT:]
        return Point(load, last, point.at_s, point.reading, point.note)

    def _samples(self, load: Load, kept: int) -> tuple[list[float], Reading | None]:
        launch = self.backend.bind(self.layer, load.counts, load.mean_tokens)
        copies = self.layer.copies_for(load.counts)
        pending = self.timer.start(launch, copies, self._floor_us(load), kept)
        reading = self.clocks.read()  # while the work runs
        return pending(), reading

    def _floor_us(self, load: Load) -> float:
        best = self.ceilings
        return self.layer.floor_us(load.counts, best.tbps, best.tflops)
