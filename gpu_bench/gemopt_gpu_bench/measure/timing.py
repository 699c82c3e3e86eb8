"""Timing of one launch: graphs and events where there are any, the clock elsewhere."""

import time
from collections.abc import Callable
from itertools import pairwise
from math import ceil
from typing import Any, Protocol

import torch

from gemopt_gpu_bench.backends.base import Launch

KEPT = 5  # replays kept; one more is dropped
SAMPLE_US = 500.0  # least duration of one sample
MOST_LAUNCHES = 32  # in one graph

#: Waits for the work and returns its samples, us per launch.
Pending = Callable[[], list[float]]


class Timer(Protocol):
    """Times launches on one device; `start` does not wait."""

    def start(
        self, launch: Launch, copies: int, floor_us: float, kept: int = KEPT
    ) -> Pending:
        """Begin to time `launch` over `copies` of the weights.

        Parameters
        ----------
        launch
            What to time.
        copies
            Copies of the weights to rotate through.
        floor_us
            Least time that one launch can take; sets how many make a sample.
        kept
            Samples wanted.
        """
        ...


def launches_per_sample(copies: int, floor_us: float) -> int:
    """Launches in one sample: whole rounds of the copies, about `SAMPLE_US` long."""
    wanted = min(MOST_LAUNCHES, ceil(SAMPLE_US / max(floor_us, 1.0)))
    return copies * max(1, ceil(wanted / copies))


class GraphTimer:
    """CUDA (or HIP) graph of several launches, replayed between events.

    A graph leaves out the cost of launching, as engines do; eager launches of small
    layers would measure the host.

    Parameters
    ----------
    device
        The GPU.
    stream
        Stream to run on, one of a green context for fewer multiprocessors; None makes
        one. Never the default stream, which cannot be captured.
    """

    def __init__(self, device: torch.device, stream: Any = None) -> None:
        self.device = device
        with torch.cuda.device(device):
            self.stream = stream if stream is not None else torch.cuda.Stream(device)
            self.pool = torch.cuda.graph_pool_handle()
            # A pool dies with the last graph that uses it; this one lives on.
            with torch.cuda.stream(self.stream):
                filler = torch.zeros(1, device=device)
                self._keeper = self._capture(lambda copy: filler.add(1), 1, 1)

    def start(
        self, launch: Launch, copies: int, floor_us: float, kept: int = KEPT
    ) -> Pending:
        count = launches_per_sample(copies, floor_us)
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            launch(0)  # compiles and loads kernels, which a capture must not do
            graph = self._capture(launch, copies, count)
            marks = [torch.cuda.Event(enable_timing=True) for _ in range(kept + 1)]
            graph.replay()
            for mark in marks[:-1]:
                mark.record(self.stream)
                graph.replay()
            marks[-1].record(self.stream)

        def read() -> list[float]:
            marks[-1].synchronize()
            graph.reset()
            return [1e3 * a.elapsed_time(b) / count for a, b in pairwise(marks)]

        return read

    def _capture(self, launch: Launch, copies: int, count: int) -> Any:
        graph = torch.cuda.CUDAGraph()
        self.stream.synchronize()
        graph.capture_begin(pool=self.pool, capture_error_mode="relaxed")
        try:
            for i in range(count):
                launch(i % copies)
        finally:
            graph.capture_end()
        return graph


class EventTimer:
    """Eager launches between events: for accelerators without graphs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(
        self, launch: Launch, copies: int, floor_us: float, kept: int = KEPT
    ) -> Pending:
        count = launches_per_sample(copies, floor_us)
        marks = [torch.Event(self.device, enable_timing=True) for _ in range(kept + 1)]
        launch(0)
        for mark in marks[:-1]:
            mark.record()
            for i in range(count):
                launch(i % copies)
        marks[-1].record()

        def read() -> list[float]:
            marks[-1].synchronize()
            return [1e3 * a.elapsed_time(b) / count for a, b in pairwise(marks)]

        return read


class WallTimer:
    """Host clock around launches that return when done: the CPU."""

    def start(
        self, launch: Launch, copies: int, floor_us: float, kept: int = KEPT
    ) -> Pending:
        launch(0)
        samples = []
        for i in range(kept):
            begin = time.perf_counter()
            launch(i % copies)
            samples.append(1e6 * (time.perf_counter() - begin))
        return lambda: samples


def make_timer(device: torch.device, stream: Any = None) -> Timer:
    """Pick the timer that `device` supports."""
    if device.type == "cuda":
        return GraphTimer(device, stream)
    if device.type == "cpu":
        return WallTimer()
    return EventTimer(device)


class Pacer:
    """Pauses between points so that the GPU works at most `duty` of the time.

    A burst profile (duty 0.4) shows the card below its power cap, a sustained one
    (duty 1) at it; the two differ by up to 15 % and must never be mixed.
    """

    def __init__(self, duty: float) -> None:
        if not 0.0 < duty <= 1.0:
            raise ValueError(f"duty = {duty} must be in (0, 1]")
        self.duty = duty
        self._since = time.perf_counter()

    def rest(self, busy_us: float) -> None:
        """Sleep as long as `busy_us` of work since the last rest asks for."""
        if self.duty < 1.0:
            elapsed = time.perf_counter() - self._since
            time.sleep(max(0.0, busy_us / 1e6 / self.duty - elapsed))
        self._since = time.perf_counter()
