"""torch's own grouped matrix product."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from gemopt_gpu_bench.backends.base import Launch
from gemopt_gpu_bench.backends.tiles import TileTable
from gemopt_gpu_bench.measure.layer import ExpertLayer


class GroupedMm:
    """``torch.nn.functional.grouped_mm`` twice, SiLU and product between them."""

    name = "grouped_mm"
    table: TileTable | None = None

    def __init__(self) -> None:
        if not hasattr(functional, "grouped_mm"):
            raise ValueError(
                f"torch {torch.__version__} has no grouped_mm; use --backend loop"
            )

    def bind(
        self, layer: ExpertLayer, counts: Sequence[int], mean_tokens: float
    ) -> Launch:
        ends = np.cumsum(counts, dtype=np.int32)
        offsets = torch.from_numpy(ends).to(layer.x.device)
        tokens = int(ends[-1])

        def launch(copy: int) -> torch.Tensor:
            w13, w2 = layer.weights(copy)
            x = layer.x[:tokens]
            both = functional.grouped_mm(x, w13.transpose(-2, -1), offs=offsets)
            gate, up = both.chunk(2, dim=1)
            inner = functional.silu(gate) * up
            return functional.grouped_mm(inner, w2.transpose(-2, -1), offs=offsets)

        return launch
