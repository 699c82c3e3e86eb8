"""Finds the tiles of the grouped kernel for one shape on one GPU by trying them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt_gpu_bench.backends.tiles import GemmTile, KernelConfig, TileTable
from gemopt_gpu_bench.backends.triton_grouped import Schedule, TritonGrouped, schedule
from gemopt_gpu_bench.measure.layer import ExpertLayer
from gemopt_gpu_bench.measure.sampling import Load, Popularity, balanced
from gemopt_gpu_bench.measure.timing import Pacer, Timer
from gemopt_gpu_bench.stats import summary

KEEP_IF_WITHIN = 0.02  # a switch of configuration must gain more than this

_SINGLE = (
    GemmTile(16, 256, 4, 4),
    GemmTile(32, 128, 4, 5),
    GemmTile(32, 256, 4, 3),
    GemmTile(64, 256, 4, 3, swap=True),
)
_FEW = (
    GemmTile(64, 64, 4, 6, swap=True),
    GemmTile(64, 128, 4, 4, swap=True),
    GemmTile(128, 64, 4, 4, swap=True),
)
_MORE = (
    GemmTile(128, 64, 4, 3, swap=True),
    GemmTile(128, 64, 8, 4, swap=True),
)
#: Tiles to try, by rows of a tile, for (gate and up, down).
CANDIDATES: dict[int, tuple[tuple[GemmTile, ...], tuple[GemmTile, ...]]] = {
    16: (
        (*_SINGLE, *_FEW, GemmTile(128, 128, 8, 3, swap=True)),
        (*_SINGLE, *_FEW, GemmTile(64, 128, 4, 6, swap=True)),
    ),
    32: (
        (*_FEW, *_MORE),
        (*_FEW, *_MORE, GemmTile(128, 128, 4, 4, swap=True)),
    ),
    64: (
        (
            *_FEW,
            *_MORE,
            GemmTile(128, 64, 4, 3),
            GemmTile(128, 64, 8, 4),
            GemmTile(256, 64, 8, 3),
            GemmTile(128, 64, 4, 2),
        ),
        (
            *_FEW,
            *_MORE,
            GemmTile(128, 64, 4, 4),
            GemmTile(256, 64, 4, 4),
            GemmTile(256, 64, 8, 4),
            GemmTile(256, 64, 4, 2),
        ),
    ),
    128: (
        (
            GemmTile(64, 64, 4, 3),
            GemmTile(64, 64, 8, 4),
            GemmTile(128, 64, 8, 4),
            GemmTile(128, 64, 8, 3),
        ),
        (
            GemmTile(64, 64, 4, 4),
            GemmTile(128, 64, 4, 3),
            GemmTile(256, 64, 8, 3),
            GemmTile(256, 64, 8, 4),
            GemmTile(128, 64, 8, 4),
        ),
    ),
}
#: Ends of the ranges to tune, in mean tokens per expert.
RANGE_ENDS = (
    *(0.13, 1.0, 4.0, 16.0, 32.0, 64.0, 128.0, 192.0, 256.0, 320.0, 384.0, 512.0),
    *(640.0, 768.0, 1024.0, 2048.0, inf),
)


def plausible(block_m: int, mean_tokens: float) -> bool:
    """Tell whether tiles of `block_m` rows can be best at that mean."""
    low = {16: 0.0, 32: 12.0, 64: 24.0, 128: 48.0}[block_m]
    high = {16: 24.0, 32: 48.0, 64: 1100.0, 128: inf}[block_m]
    return low < mean_tokens <= high


@dataclass
class Tuner:
    """Times every candidate of both GEMMs on balanced and on skewed loads.

    Parameters
    ----------
    layer, timer, pacer
        What is timed, and how.
    total
        Experts of the layer on all GPUs.
    note
        Called with a line of text for each range that is done.
    """

    layer: ExpertLayer
    timer: Timer
    pacer: Pacer
    total: int
    note: Callable[[str], None] = lambda text: None

    def table(self, max_tokens: int, seed: int = 0) -> TileTable:
        """Tune all ranges of mean tokens up to ``max_tokens`` on this GPU."""
        rng = np.random.default_rng(seed)
        layer = self.layer
        routing = Popularity.generated(
            layer.experts, max(self.total, layer.experts), layer.max_tokens, rng, (3.0,)
        )
        rows: list[tuple[float, KernelConfig]] = []
        top, low = max_tokens / layer.experts, 0.0
        for end in RANGE_ENDS:
            high = min(end, top)
            means = [low + f * (high - low) for f in (0.15, 0.45, 0.75, 1.0)]
            loads = [
                balanced("tune", layer.experts, max(1, int(mean * layer.experts)))
                for mean in means
            ]
            loads.append(Load("tune", high, routing.draw(0.9 * high, rng)))
            regret = self._range(high, [load for load in loads if load.tokens])
            best = min(regret, key=lambda config: regret[config])
            if rows and regret.get(rows[-1][1], inf) < regret[best] + KEEP_IF_WITHIN:
                best = rows[-1][1]
            rows.append((end, best))
            self.note(f"mean tokens <= {end:.2f}: regret {regret[best]:.3f}, {best}")
            low = end
            if low >= top:
                break
        rows[-1] = (inf, rows[-1][1])
        return TileTable(tuple(rows)).merged()

    def _range(self, mean: float, loads: list[Load]) -> dict[KernelConfig, float]:
        """How far each configuration is from the best one: mean plus half the worst."""
        times: dict[KernelConfig, NDArray[np.float64]] = {}
        for block_m, (gates, downs) in CANDIDATES.items():
            if not plausible(block_m, mean):
                continue
            gate_us = {t: self._times(t, block_m, loads, fused=True) for t in gates}
            down_us = {t: self._times(t, block_m, loads, fused=False) for t in downs}
            for gate, a in gate_us.items():
                for down, b in down_us.items():
                    times[KernelConfig(block_m, gate, down)] = np.array(a) + b
        best = np.min(list(times.values()), axis=0)
        return {
            config: float((us / best - 1).mean() + 0.5 * (us / best - 1).max())
            for config, us in times.items()
        }

    def _times(
        self, tile: GemmTile, block_m: int, loads: Iterable[Load], *, fused: bool
    ) -> list[float]:
        """Median us of one GEMM on each load; infinite where it does not run."""
        backend, layer = TritonGrouped(None), self.layer
        width = layer.intermediate if fused else layer.hidden
        tail = KernelConfig(block_m, tile, tile).tail
        result = []
        for load in loads:
            plan = schedule(load.counts, block_m, tail, width, tile, layer.x.device)

            def launch(copy: int, plan: Schedule = plan) -> torch.Tensor:
                backend.gemm(layer, tile, plan, copy, fused=fused)
                return layer.out

            copies = self.layer.copies_for(load.counts)
            floor = self.layer.floor_us(load.counts, 3.0, 800.0) / 2
            try:
                samples = self.timer.start(launch, copies, floor, 3)()
            except Exception as error:  # too many registers or too much shared memory
                self.note(f"{tile} with {block_m} rows does not run: {error}")
                result.append(inf)
                continue
            self.pacer.rest(sum(samples) * copies)
            result.append(summary(samples).median)
        return result
