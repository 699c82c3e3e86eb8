"""Routing over time: what a trace holds before GPUs are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import ArrayLike

from gemopt.arrays import (
    Floats,
    Ints,
    counts_array,
    frozen,
    layer_indices,
    step_weights,
)
from gemopt.model.tokens import TokenRouting


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """Token-expert assignments of an MoE model, step by step. Arrays are read-only.

    Build it with `RoutingTrace.from_arrays` or `gemopt.load_trace`.

    Attributes
    ----------
    counts
        Assignments of each expert, int64 ``[steps, layers, experts]``.
    layer_ids
        Index of each MoE layer in the model, int64 ``[layers]``.
    weights
        How often each step stands for itself, float64 ``[steps]``.
    name, provenance
        For people: source, licence, how it was made.
    tokens
        Per-token expert ids behind `counts`, where they are known; files of traces do
        not keep them.
    """

    counts: Ints
    layer_ids: Ints
    weights: Floats
    name: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    tokens: TokenRouting | None = None

    @classmethod
    def from_arrays(
        cls,
        counts: ArrayLike,
        *,
        layer_ids: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        name: str = "",
        provenance: Mapping[str, Any] | None = None,
        tokens: TokenRouting | None = None,
    ) -> RoutingTrace:
        """Check and copy the arrays; the same rules as `Instance.from_arrays`.

        Raises
        ------
        ValueError
            With the name of the argument and the offending value.
        """
        array = counts_array(counts)
        steps, layers, _ = array.shape
        return cls(
            frozen(array),
            frozen(layer_indices(layer_ids, layers)),
            frozen(step_weights(weights, steps)),
            name,
            dict(provenance or {}),
            tokens,
        )
