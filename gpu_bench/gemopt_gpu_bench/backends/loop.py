"""One matrix product per expert: what a plain implementation does."""

from collections.abc import Sequence

import torch
from torch.nn import functional

from gemopt_gpu_bench.backends.base import Launch
from gemopt_gpu_bench.backends.tiles import TileTable
from gemopt_gpu_bench.measure.layer import ExpertLayer


class Loop:
    """Experts one after another through the vendor's matrix library."""

    name = "loop"
    table: TileTable | None = None

    def bind(
        self, layer: ExpertLayer, counts: Sequence[int], mean_tokens: float
    ) -> Launch:
        spans = layer.spans(counts)
        tokens = sum(counts)

        def launch(copy: int) -> torch.Tensor:
            w13, w2 = layer.weights(copy)
            for expert, start, stop in spans:
                both = layer.x[start:stop] @ w13[expert].T
                gate, up = both.chunk(2, dim=1)
                inner = functional.silu(gate) * up
                torch.mm(inner, w2[expert].T, out=layer.out[start:stop])
            return layer.out[:tokens]

        return launch
