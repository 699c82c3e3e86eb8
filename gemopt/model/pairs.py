"""How often two experts are chosen by the same token, counted in one pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.model.tokens import TokenRouting

Ints = NDArray[np.int64]

#: Tokens that are turned into 0/1 rows at a time: sums of float32 stay exact.
CHUNK = 8192


class PairCounter:
    """Counts pairs of experts within a layer, and from a layer to the next one.

    Feed it chunks of token ids in any order; its memory does not grow with them.

    Parameters
    ----------
    num_layers, num_experts
        Sizes of the routing.
    between_layers
        Also count pairs (expert of layer l, expert of layer l + 1).

    Attributes
    ----------
    tokens
        Tokens seen.
    same_layer
        Tokens that chose both, int64 ``[layers, experts, experts]``; the diagonal
        holds the tokens of each expert.
    next_layer
        Tokens that chose e in layer l and f in layer l + 1, int64
        ``[layers - 1, experts, experts]``; empty unless asked for.
    """

    def __init__(
        self, num_layers: int, num_experts: int, *, between_layers: bool = False
    ) -> None:
        steps = num_layers - 1 if between_layers else 0
        self.tokens = 0
        self.same_layer = np.zeros((num_layers, num_experts, num_experts), np.int64)
        self.next_layer = np.zeros((steps, num_experts, num_experts), np.int64)

    def add(self, expert_ids: ArrayLike) -> None:
        """Count the tokens of ``expert_ids`` ``[tokens, layers, top_k]``."""
        ids = np.asarray(expert_ids)
        for start in range(0, len(ids), CHUNK):
            self._add_chunk(ids[start : start + CHUNK].astype(np.int64))
        self.tokens += len(ids)

    def _add_chunk(self, ids: Ints) -> None:
        layers, experts, _ = self.same_layer.shape
        before = np.empty((0, experts), dtype=np.float32)
        for layer in range(layers):
            chosen = np.zeros((len(ids), experts), dtype=np.float32)
            np.put_along_axis(chosen, ids[:, layer], 1.0, axis=1)
            self.same_layer[layer] += (chosen.T @ chosen).astype(np.int64)
            if layer and len(self.next_layer):
                self.next_layer[layer - 1] += (before.T @ chosen).astype(np.int64)
            before = chosen


def pair_shares(routing: TokenRouting, num_experts: int) -> NDArray[np.float64]:
    """Share of tokens that chose both, float64 ``[layers, experts, experts]``."""
    counter = PairCounter(routing.expert_ids.shape[1], num_experts)
    counter.add(routing.expert_ids)
    shares = counter.same_layer / max(counter.tokens, 1)
    shares.setflags(write=False)
    return shares
