"""Profiles one GPU for one shape: plan, measure, fit, repeat until good enough."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt.latency import LatencyModel
from gemopt_gpu_bench import backends
from gemopt_gpu_bench.fit import Fit, Samples, fit_all
from gemopt_gpu_bench.fit.token_curve import curve, staircase
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.bisect import bisect_curve
from gemopt_gpu_bench.measure.green_contexts import limited_stream
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import (
    Load,
    Popularity,
    Sparse,
    balanced,
    boundary_tokens,
    range_limits,
    vector_loads,
)
from gemopt_gpu_bench.measure.session import Point, Session
from gemopt_gpu_bench.measure.timing import Pacer, make_timer
from gemopt_gpu_bench.profile.journal import Journal
from gemopt_gpu_bench.profile.settings import (
    DUTY,
    TARGET_MAPE,
    TARGET_P95,
    TARGET_TRACE,
    Settings,
)

PER_RANGE = 16  # vectors of the first round for each range
VALIDATION_LOADS = 36  # validation vectors, and as many trace-like ones
FINGERPRINT = (1, 16, 64, 256, 1024, 2048, 4096, 8192)

#: Called with (points measured, points planned so far, text).
Progress = Callable[[int, int, str], None]


@dataclass
class GpuRun:
    """Everything that one profile needs and gathers."""

    settings: Settings
    session: Session
    limits: list[float]
    routing: Popularity
    unseen_routing: Popularity
    rng: np.random.Generator
    progress: Progress
    sms: int
    journal: Journal | None = None
    planned: int = 0
    points: list[Point] = field(default_factory=list)

    def measure(self, loads: Sequence[Load], text: str) -> list[Point]:
        """Measure loads in random order and report progress."""
        self.planned += len(loads)
        order = [loads[i] for i in self.rng.permutation(len(loads))]

        def on_point(point: Point) -> None:
            if self.journal is not None:
                self.journal.note(point)
            self.points.append(point)
            self.progress(len(self.points), self.planned, text)

        return self.session.measure_all(order, on_point)

    def of_kind(self, *kinds: str) -> Samples:
        """Points of these kinds that could be measured."""
        found = [p for p in self.points if p.load.kind in kinds and p.samples_us]
        experts = self.settings.experts
        return Samples(
            np.array([p.load.counts for p in found], np.int64).reshape(-1, experts),
            np.array([p.load.mean_tokens for p in found]),
            np.array([p.us for p in found]),
        )


@dataclass(frozen=True)
class GpuProfile:
    """A finished profile before it becomes a file."""

    run: GpuRun
    fits: list[Fit]
    cold_hot: list[tuple[Point, Point]]
    missed: list[str]
    seconds: float


def make_layer(settings: Settings, device: torch.device) -> ExpertLayer:
    """Weights and buffers for a profile; twice `max_tokens`, as vectors vary."""
    return ExpertLayer(
        *settings.shape,
        2 * settings.max_tokens,
        device=device,
        cache_bytes=devices.cache_bytes(device),
        seed=settings.seed,
    )


def profile(
    settings: Settings,
    device: torch.device,
    *,
    layer: ExpertLayer | None = None,
    sm_limit: int | None = None,
    trace: NDArray[np.int64] | None = None,
    journal: Path | None = None,
    resume: bool = False,
    progress: Progress = lambda done, planned, text: None,
) -> GpuProfile:
    """Measure and fit one GPU.

    Parameters
    ----------
    settings
        Shape, backend, mode, seed.
    device
        The GPU, or the CPU for a trial.
    layer
        Weights to share between profiles of one card; made when None.
    sm_limit
        Multiprocessors to use; None uses all.
    trace
        Routing counts ``[steps, layers, experts]``. Vectors are drawn from its first
        half, trace-like ones to validate from its second; None draws popularities.
    journal, resume
        Where points are kept for resuming, and whether to do so.
    progress
        Called after each point.
    """
    began = time.perf_counter()
    run = _prepare(settings, device, layer, sm_limit, trace, progress)
    if journal is not None:
        run.journal = Journal(journal, _identity(run, trace), resume)
        run.session.known = dict(run.journal.points)
    try:
        _measure_boundaries(run)
        _measure_validation(run)
        fits, missed = _fit_until_good(run)
        cold_hot = _fingerprint(run)
    finally:
        if run.journal is not None:
            run.journal.close()
    return GpuProfile(run, fits, cold_hot, missed, time.perf_counter() - began)


def _identity(run: GpuRun, trace: NDArray[np.int64] | None) -> dict[str, Any]:
    """What two runs must share for one to go on with the points of the other."""
    device = devices.describe(run.session.layer.x.device, run.session.clocks)
    return {
        **run.settings.to_json(),
        "multiprocessors": run.sms,
        "device": device.get("uuid_sha256", device["name"]),
        "trace": None if trace is None else sha256(trace.tobytes()).hexdigest()[:16],
    }


def _prepare(
    settings: Settings,
    device: torch.device,
    layer: ExpertLayer | None,
    sm_limit: int | None,
    trace: NDArray[np.int64] | None,
    progress: Progress,
) -> GpuRun:
    sms = devices.multiprocessors(device)
    stream = None
    if sm_limit is not None and sm_limit != sms:
        limited = limited_stream(device, sm_limit)
        stream, sms = limited.stream, limited.granted
    if layer is None:
        layer = make_layer(settings, device)
    table = backends.table_for(settings.backend, settings.shape)
    backend = backends.make(settings.backend, table=table)
    rng = np.random.default_rng(settings.seed)
    session = Session(
        layer,
        backend,
        make_timer(device, stream),
        devices.clocks_of(device),
        Pacer(DUTY[settings.mode] if device.type != "cpu" else 1.0),
        anchor=balanced("anchor", settings.experts, min(1024, settings.max_tokens)),
    )
    if stream is not None:
        session.keep = limited
    room = 2 * settings.max_tokens
    sizes = settings.experts, settings.total_experts, room
    if trace is None:
        routing = Popularity.generated(*sizes, rng)
        unseen = Popularity.generated(*sizes, rng, (1.0, 3.0))
    else:
        half = len(trace) // 2
        routing = Popularity.from_trace(trace[:half], *sizes)
        unseen = Popularity.from_trace(trace[half:], *sizes)
    limits = range_limits(table, settings.top_mean)
    return GpuRun(settings, session, limits, routing, unseen, rng, progress, sms)


def _measure_boundaries(run: GpuRun) -> None:
    """Balanced loads: the known boundaries, or where a search finds bends."""
    settings, table = run.settings, run.session.backend.table
    if table is not None:
        marks = boundary_tokens(table, settings.experts, settings.max_tokens)
        loads = [balanced("boundary", settings.experts, t) for t in marks]
        run.measure(loads, "boundaries")
        return

    def measure(tokens: int) -> float | None:
        load = balanced("boundary", settings.experts, tokens)
        (point,) = run.measure([load], "bisection")
        return point.us if point.samples_us else None

    bisect_curve(measure, settings.max_tokens)


def _measure_validation(run: GpuRun) -> None:
    """Vectors that no fit will see: trace-like ones, and harsher ones."""
    settings = run.settings
    top = settings.top_mean
    args = run.limits, VALIDATION_LOADS, top, run.rng
    trace = vector_loads("trace", run.unseen_routing, *args)
    sizes = settings.experts, settings.total_experts, 2 * settings.max_tokens
    harsh = Popularity.generated(*sizes, run.rng)
    half = VALIDATION_LOADS // 2
    loads = vector_loads("validation", harsh, run.limits, half, top, run.rng)
    sparse = Sparse(settings.experts, settings.max_tokens)
    loads += vector_loads("validation", sparse, run.limits, half, top, run.rng)
    run.measure([*trace, *loads], "validation")


def _fit_until_good(run: GpuRun) -> tuple[list[Fit], list[str]]:
    """Measure vectors and fit, doubling the vectors while a target is missed."""
    settings = run.settings
    sparse = Sparse(settings.experts, settings.max_tokens)
    sizes = settings.experts, settings.total_experts, 2 * settings.max_tokens
    harsh = Popularity.generated(*sizes, run.rng)
    new, have = PER_RANGE * len(run.limits), 0
    while True:
        top, rng = settings.top_mean, run.rng
        parts = (
            ("vector", run.routing, 2),
            ("vector", harsh, 1),
            ("sparse", sparse, 1),
        )
        loads = [
            load
            for kind, source, weight in parts
            for load in vector_loads(
                kind, source, run.limits, new * weight // 4, top, rng
            )
        ]
        run.measure(loads, "vectors")
        have += len(loads)
        fits = fit_all(
            run.of_kind("vector", "sparse"),
            run.of_kind("validation"),
            run.of_kind("trace"),
            limits=run.limits,
            table=run.session.backend.table,
            total=settings.total_experts,
            curves=curves(run),
        )
        missed = missed_targets(fits[0])
        if not missed or 2 * have > settings.most_vectors:
            return fits, missed
        new = have


def curves(run: GpuRun) -> dict[str, LatencyModel]:
    """Models of total tokens alone, from the balanced points."""
    found = sorted(
        (p.load.tokens, p.us)
        for p in run.points
        if p.load.kind == "boundary" and p.samples_us
    )
    tokens, us = [t for t, _ in found], [y for _, y in found]
    models: dict[str, LatencyModel] = {
        "curve_linear": curve(tokens, us, "linear"),
        "curve_step": curve(tokens, us, "step"),
    }
    table, settings = run.session.backend.table, run.settings
    if table is not None:
        models["curve_staircase"] = staircase(
            tokens, us, table, settings.experts, settings.max_tokens
        )
    return models


def missed_targets(fit: Fit) -> list[str]:
    """Say which of the targets the chosen fit misses."""
    missed = []
    if fit.validation.mape > TARGET_MAPE:
        missed.append(f"MAPE {fit.validation.mape:.1%} > {TARGET_MAPE:.0%}")
    if fit.validation.p95 > TARGET_P95:
        missed.append(f"p95 {fit.validation.p95:.1%} > {TARGET_P95:.0%}")
    if fit.trace is not None and fit.trace.mape > TARGET_TRACE:
        missed.append(f"trace MAPE {fit.trace.mape:.1%} > {TARGET_TRACE:.1%}")
    return missed


def _fingerprint(run: GpuRun) -> list[tuple[Point, Point]]:
    """Fixed loads, cold and hot: how far a card differs from itself."""
    if run.session.layer.x.device.type == "cpu":
        return []
    pairs = []
    for tokens in FINGERPRINT:
        if tokens <= run.settings.max_tokens:
            load = balanced("fingerprint", run.settings.experts, tokens)
            cold, hot = run.session.measure(load), run.session.measure_hot(load)
            if cold.samples_us and hot.samples_us:
                pairs.append((cold, hot))
    return pairs
