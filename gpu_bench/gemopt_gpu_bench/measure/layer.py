"""The layer under test: weights, inputs and a reference result, on any device."""

from collections.abc import Sequence
from math import ceil

import torch
from torch.nn import functional

MAX_COPIES = 16
ROTATE_BYTES = 2**30  # weights read between two uses of the same bytes
PAD_ROWS = 256  # bulk loads of the last tile may read past the tokens


class ExpertLayer:
    """Experts of one GPU: ``w2(silu(w1 x) * w3 x)`` for tokens sorted by expert.

    Parameters
    ----------
    hidden, intermediate, experts
        Widths, and experts on this GPU.
    max_tokens
        Largest number of token-expert assignments of one call.
    device
        Where tensors live.
    dtype
        bfloat16 unless a test asks otherwise.
    cache_bytes
        Last-level cache; copies of the weights exceed it, so that no call finds its
        weights there. 0 keeps one copy.
    seed
        Of the random weights and tokens. Never zeros: they hide faults and draw less
        power than real data.
    """

    def __init__(
        self,
        hidden: int,
        intermediate: int,
        experts: int,
        max_tokens: int,
        *,
        device: torch.device,
        dtype: torch.dtype = torch.bfloat16,
        cache_bytes: int = 0,
        seed: int = 0,
    ) -> None:
        self.hidden, self.intermediate, self.experts = hidden, intermediate, experts
        self.max_tokens = max_tokens
        self.expert_bytes = 3 * hidden * intermediate * dtype.itemsize
        self.cache_bytes = cache_bytes
        self.copies = self._copies(experts, MAX_COPIES)
        generator = torch.Generator(device).manual_seed(seed)

        def random(*shape: int, scale: float) -> torch.Tensor:
            tensor = torch.empty(shape, device=device, dtype=dtype)
            return tensor.normal_(0.0, scale, generator=generator)

        rows = self.copies * experts
        self._w13 = random(rows * 2 * intermediate, hidden, scale=hidden**-0.5)
        self._w2 = random(rows * hidden, intermediate, scale=intermediate**-0.5)
        padded = max_tokens + PAD_ROWS
        self.x = random(padded, hidden, scale=1.0)
        self.inner = torch.zeros(padded, intermediate, device=device, dtype=dtype)
        self.out = torch.zeros(padded, hidden, device=device, dtype=dtype)

    def _copies(self, active: int, limit: int) -> int:
        """Copies to rotate through, so that `active` experts never stay in cache."""
        if self.cache_bytes == 0:
            return 1
        used = active * self.expert_bytes
        one_expert = ceil(3 * self.cache_bytes / self.expert_bytes)
        wanted = max(
            ceil(ROTATE_BYTES / used), one_expert if limit == MAX_COPIES else 1
        )
        return max(1, min(wanted, limit))

    def copies_for(self, counts: Sequence[int]) -> int:
        """Copies that a call with these counts should rotate through."""
        active = max(1, sum(count > 0 for count in counts))
        return self._copies(active, self.copies)

    def flat_weights(self, copy: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of a copy: ``[experts * 2 * ff, d]`` and ``[experts * d, ff]``."""
        up, down = self.experts * 2 * self.intermediate, self.experts * self.hidden
        return (
            self._w13[copy * up : (copy + 1) * up],
            self._w2[copy * down : (copy + 1) * down],
        )

    def weights(self, copy: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of a copy: ``[experts, 2 * ff, d]`` and ``[experts, d, ff]``."""
        w13, w2 = self.flat_weights(copy)
        return (
            w13.view(self.experts, 2 * self.intermediate, self.hidden),
            w2.view(self.experts, self.hidden, self.intermediate),
        )

    def spans(self, counts: Sequence[int]) -> list[tuple[int, int, int]]:
        """(expert, first row, end row) of each expert that has tokens."""
        spans, start = [], 0
        for expert, count in enumerate(counts):
            if count:
                spans.append((expert, start, start + count))
            start += count
        return spans

    def floor_us(self, counts: Sequence[int], tbps: float, tflops: float) -> float:
        """Least microseconds at the given ceilings of memory and arithmetic."""
        bytes_moved = self.expert_bytes * sum(count > 0 for count in counts)
        flops = 6 * sum(counts) * self.hidden * self.intermediate
        return max(bytes_moved / tbps, flops / tflops) / 1e6

    def reference(self, counts: Sequence[int], copy: int = 0) -> torch.Tensor:
        """Result in float32 from float64 sums on small layers, ``[tokens, hidden]``."""
        w13, w2 = self.weights(copy)
        wide = torch.float64 if self.hidden <= 1024 else torch.float32
        parts = []
        for expert, start, stop in self.spans(counts):
            x = self.x[start:stop].to(wide)
            gate, up = (x @ w13[expert].to(wide).T).chunk(2, dim=1)
            parts.append((functional.silu(gate) * up) @ w2[expert].to(wide).T)
        return torch.cat(parts).float()
