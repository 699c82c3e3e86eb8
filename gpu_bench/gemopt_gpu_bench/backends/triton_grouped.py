"""Our grouped kernel, whose tiles are known and chosen from the whole step."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gemopt_gpu_bench.backends.base import Launch
from gemopt_gpu_bench.backends.tiles import GROUP, GemmTile, TileTable, known_table
from gemopt_gpu_bench.measure.layer import ExpertLayer


@dataclass(frozen=True)
class Schedule:
    """Tiles of one load for one GEMM, on the device.

    `tiles` is int32 ``[tiles, 3]``, `order` int32 ``[programs, 2]``.
    """

    block_m: int
    tail: int
    tiles: torch.Tensor
    order: torch.Tensor


class TritonGrouped:
    """Two launches: gate, up and SiLU-product fused, then down.

    Parameters
    ----------
    table
        Tiles; None takes those tuned for the shape of the first layer.

    Raises
    ------
    ValueError
        Triton is not installed.
    """

    name = "triton"

    def __init__(self, table: TileTable | None) -> None:
        try:
            from gemopt_gpu_bench.backends import triton_kernel
        except ImportError as error:
            raise ValueError(
                "backend triton needs the package triton; install gemopt[gpu] or use "
                "--backend grouped_mm"
            ) from error
        self._kernel: Any = triton_kernel.grouped_gemm
        self._descriptors: dict[Any, Any] = {}
        self.table = table

    def bind(
        self, layer: ExpertLayer, counts: Sequence[int], mean_tokens: float
    ) -> Launch:
        if self.table is None:
            self.table = known_table(layer.hidden, layer.intermediate, layer.experts)
        config = self.table.config(mean_tokens)
        tokens = sum(counts)
        device = layer.x.device
        sizes = counts, config.block_m, config.tail
        gate = schedule(*sizes, layer.intermediate, config.gate_up, device)
        down = schedule(*sizes, layer.hidden, config.down, device)

        def launch(copy: int) -> torch.Tensor:
            self.gemm(layer, config.gate_up, gate, copy, fused=True)
            self.gemm(layer, config.down, down, copy, fused=False)
            return layer.out[:tokens]

        return launch

    def gemm(
        self,
        layer: ExpertLayer,
        tile: GemmTile,
        plan: Schedule,
        copy: int,
        *,
        fused: bool,
    ) -> None:
        """Launch one of the two GEMMs on the tiles of `plan`."""
        source, out = (layer.x, layer.inner) if fused else (layer.inner, layer.out)
        weights = layer.flat_weights(copy)[0 if fused else 1]
        n = layer.intermediate if fused else layer.hidden
        k = layer.hidden if fused else layer.intermediate
        self._kernel[(len(plan.order),)](
            self._descriptor(source, plan.block_m, tile.depth),
            self._descriptor(source, plan.tail or plan.block_m, tile.depth),
            self._descriptor(weights, tile.columns, tile.depth),
            out,
            plan.tiles,
            plan.order,
            2 * n if fused else n,
            n,
            k,
            BM=plan.block_m,
            TAIL=plan.tail,
            BN=tile.columns,
            BK=tile.depth,
            FUSED=fused,
            SWAP=tile.swap,
            num_warps=tile.warps,
            num_stages=tile.stages,
        )

    def _descriptor(self, tensor: torch.Tensor, rows: int, depth: int) -> Any:
        """Descriptor for bulk loads of ``[rows, depth]`` blocks, kept for reuse."""
        from triton.tools.tensor_descriptor import TensorDescriptor

        key = (tensor.data_ptr(), tuple(tensor.shape), rows, depth)
        if key not in self._descriptors:
            self._descriptors[key] = TensorDescriptor.from_tensor(tensor, [rows, depth])
        return self._descriptors[key]


def schedule(
    counts: Sequence[int],
    block_m: int,
    tail: int,
    width: int,
    tile: GemmTile,
    device: torch.device,
) -> Schedule:
    """Plan one GEMM with `width` outputs a token for the given counts ``[experts]``."""
    tiles = row_tiles(counts, block_m)
    order = program_order(tiles, ceil(width / tile.columns))
    return Schedule(
        block_m,
        tail,
        torch.from_numpy(tiles).to(device),
        torch.from_numpy(order).to(device),
    )


def row_tiles(counts: Sequence[int], block_m: int) -> NDArray[np.int32]:
    """Split every expert's tokens into tiles of `block_m` rows.

    Parameters
    ----------
    counts
        Tokens of each expert ``[experts]``.
    block_m
        Rows of a tile.

    Returns
    -------
    numpy.ndarray
        int32 ``[tiles, 3]``: expert, first row, rows (<= block_m) of each tile.
    """
    count = np.asarray(counts, dtype=np.int64)
    tiles = -(-count // block_m)
    expert = np.repeat(np.arange(len(count)), tiles)
    inside = np.arange(len(expert)) - np.repeat(np.cumsum(tiles) - tiles, tiles)
    first = (np.cumsum(count) - count)[expert] + inside * block_m
    rows = np.minimum(count[expert] - inside * block_m, block_m)
    return np.stack([expert, first, rows], axis=1).astype(np.int32)


def program_order(tiles: NDArray[np.int32], columns: int) -> NDArray[np.int32]:
    """Tile and column of each program, int32 ``[tiles * columns, 2]``.

    Up to `GROUP` row tiles of one expert walk over the columns together, so that a
    weight tile is read from memory once; a group never spans two experts.
    """
    parts = []
    start = 0
    while start < len(tiles):
        same = tiles[start : start + GROUP, 0] == tiles[start, 0]
        size = int(same.sum())
        column = np.repeat(np.arange(columns), size)
        tile = start + np.tile(np.arange(size), columns)
        parts.append(np.stack([tile, column], axis=1))
        start += size
    return np.concatenate(parts).astype(np.int32)
