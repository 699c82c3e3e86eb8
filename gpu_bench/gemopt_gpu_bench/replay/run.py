"""Runs every GPU's share of every step for real and times it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gemopt_gpu_bench import backends
from gemopt_gpu_bench.backends import tiles
from gemopt_gpu_bench.hosts import devices
from gemopt_gpu_bench.measure.green_contexts import limited_stream
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import Load
from gemopt_gpu_bench.measure.session import Session
from gemopt_gpu_bench.measure.timing import Pacer, make_timer
from gemopt_gpu_bench.profile.settings import DUTY
from gemopt_gpu_bench.replay.result import ReplayResult

if TYPE_CHECKING:
    from gemopt_gpu_bench.replay.plan import ReplayPlan

KEPT = 2  # samples of one visit; every repeat visits every load anew

#: Called with (loads measured, loads altogether, text).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ReplaySettings:
    """What runs and how it is timed.

    Attributes
    ----------
    hidden, intermediate
        Widths of the layer.
    backend
        Name of the implementation.
    mode
        ``"burst"`` or ``"sustained"``: that of the profiles behind the prediction, for
        the two differ under the power cap.
    seed
        Of weights and tokens.
    table
        Tiles of the kernel, those of the profiles; None takes those known for the
        shape. Only for backends with tiles.
    """

    hidden: int
    intermediate: int
    backend: str = backends.USUAL
    mode: str = "burst"
    seed: int = 0
    table: tiles.TileTable | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "intermediate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= 1")
        if self.mode not in DUTY:
            raise ValueError(f"mode = {self.mode!r} must be {' or '.join(DUTY)}")

    def to_json(self) -> dict[str, Any]:
        """All settings as JSON values."""
        table = None if self.table is None else self.table.to_json()
        return {**vars(self), "table": table}


def make_sessions(
    settings: ReplaySettings,
    gpus: Sequence[torch.device],
    slots: int,
    max_tokens: int,
    sm_limits: Sequence[int] | None = None,
) -> list[Session]:
    """Prepare one session for each GPU of the instance.

    Sessions on one device share its weights, which hold `slots` experts, and its rests.

    Parameters
    ----------
    settings
        What runs.
    gpus
        Device of each GPU of the instance; several may name the same one.
    slots, max_tokens
        Most experts, and most token-expert assignments, of a GPU.
    sm_limits
        Multiprocessors of each GPU of the instance; None means all.

    Raises
    ------
    ValueError
        A limit that cannot be had, not one for each GPU, or too little memory.
    """
    if sm_limits is not None and len(sm_limits) != len(gpus):
        raise ValueError(
            f"sm_limits has {len(sm_limits)} values, needs one for each of "
            f"{len(gpus)} GPUs"
        )
    shape = settings.hidden, settings.intermediate, slots
    table = backends.table_for(settings.backend, shape, settings.table)
    layers: dict[torch.device, ExpertLayer] = {}
    pacers: dict[torch.device, Pacer] = {}
    sessions = []
    for gpu, device in enumerate(gpus):
        if device not in layers:
            layers[device] = _layer(settings, slots, max_tokens, device)
            duty = DUTY[settings.mode] if device.type != "cpu" else 1.0
            pacers[device] = Pacer(duty)
        limit = None
        if sm_limits is not None and sm_limits[gpu] != devices.multiprocessors(device):
            limit = limited_stream(device, sm_limits[gpu])
        sessions.append(
            Session(
                layers[device],
                backends.make(settings.backend, table=table),
                make_timer(device, None if limit is None else limit.stream),
                devices.clocks_of(device),
                pacers[device],
                keep=limit,
            )
        )
    return sessions


def _layer(
    settings: ReplaySettings, slots: int, max_tokens: int, device: torch.device
) -> ExpertLayer:
    try:
        return ExpertLayer(
            settings.hidden,
            settings.intermediate,
            slots,
            max_tokens,
            device=device,
            cache_bytes=devices.cache_bytes(device),
            seed=settings.seed,
        )
    except torch.OutOfMemoryError:
        raise ValueError(
            f"{device}: {slots} experts of {settings.hidden} x {settings.intermediate} "
            "do not fit into its memory"
        ) from None


def assign(found: Sequence[torch.device], gpus: int) -> list[torch.device]:
    """Deal the GPUs of an instance out over the devices that are here, in turn."""
    return [found[gpu % len(found)] for gpu in range(gpus)]


def replay(
    plan: ReplayPlan,
    sessions: Sequence[Session],
    *,
    repeats: int,
    seed: int = 0,
    progress: Progress = lambda done, total, text: None,
) -> ReplayResult:
    """Measure every load of `plan`.

    Devices work side by side; GPUs of the instance that share a device take turns on
    it. All placements of a step are measured one after the other, in random order, so
    that slow changes of the card meet them alike.

    Parameters
    ----------
    plan
        The loads.
    sessions
        One for each GPU of the instance, from `make_sessions`.
    repeats
        Times that everything is measured.
    seed
        Of the order.
    progress
        Called after each load.

    Raises
    ------
    ValueError
        A load does not fit into a device's memory, or no repeats.
    """
    if repeats < 1:
        raise ValueError(f"repeats = {repeats} must be >= 1")
    placements, steps, layers, gpus = plan.counts.shape[:4]
    us = np.zeros((repeats, placements, steps, layers, gpus))
    throttled = np.zeros(us.shape, dtype=np.bool_)
    done, stop = itertools.count(1), Event()

    def work(part: list[int]) -> None:
        # The same seed on every device: all of them are at the same step.
        for spot in order(plan, repeats, seed, part):
            if stop.is_set():
                return
            load = _load(plan, *spot[1:])
            if load.tokens:  # a GPU without tokens launches nothing
                point = sessions[spot[4]].measure(load, KEPT)
                if not point.samples_us:
                    name = plan.gpu_names[spot[4]]
                    raise ValueError(f"GPU {name!r}: {point.note}; take smaller steps")
                us[spot], throttled[spot] = point.us, point.throttled
            progress(next(done), us.size, "loads")

    parts: dict[torch.device, list[int]] = {}
    for gpu, session in enumerate(sessions):
        parts.setdefault(session.layer.x.device, []).append(gpu)
    side_by_side(work, list(parts.values()), stop)
    return ReplayResult(
        plan.names,
        us,
        plan.predicted_us,
        plan.weights,
        float(throttled.mean()),
        len(parts),
    )


def side_by_side(
    work: Callable[[list[int]], None], parts: list[list[int]], stop: Event
) -> None:
    """Do the work of each device in a thread; a single one in this thread.

    An error of one of them, or Ctrl-C, sets `stop` and is raised when all have stopped.
    """
    if len(parts) == 1:
        work(parts[0])
        return
    with ThreadPoolExecutor(len(parts)) as pool:
        running = [pool.submit(work, part) for part in parts]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            stop.set()
            raise


Spot = tuple[int, int, int, int, int]


def order(plan: ReplayPlan, repeats: int, seed: int, part: list[int]) -> list[Spot]:
    """Order of the loads of the GPUs of `part`.

    Returns
    -------
    list of tuple
        (repeat, placement, step, layer, gpu), each once. Steps and layers are in a new
        random order in every repeat; the placements of each follow one another.
    """
    rng = np.random.default_rng(seed)
    placements, steps, layers = plan.counts.shape[:3]
    spots = []
    for repeat in range(repeats):
        for cell in rng.permutation(steps * layers):
            step, layer = divmod(int(cell), layers)
            for placement in rng.permutation(placements):
                turn = rng.permutation(plan.num_gpus)
                spots += [
                    (repeat, int(placement), step, layer, int(gpu))
                    for gpu in turn
                    if gpu in part
                ]
    return spots


def _load(plan: ReplayPlan, placement: int, step: int, layer: int, gpu: int) -> Load:
    counts = plan.counts[placement, step, layer, gpu]
    mean = float(plan.mean_tokens[step, layer])
    return Load("replay", mean, tuple(map(int, counts)))
