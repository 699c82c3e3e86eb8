"""Routing over time: what a trace holds before GPUs are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, cast

from numpy.typing import ArrayLike

from gemopt.arrays import (
    Floats,
    Ints,
    counts_array,
    frozen,
    layer_indices,
    step_weights,
)
from gemopt.model.sizes import sizes_text
from gemopt.model.tokens import TokenRouting
from gemopt.model.windows import sum_windows


@dataclass(frozen=True, eq=False, repr=False)
class RoutingTrace:
    """Token-expert assignments of an MoE model, step by step. Arrays are read-only.

    ``RoutingTrace(counts)`` is enough; `RoutingTrace.from_arrays` takes all by name,
    `gemopt.load_trace` reads a file. Arrays are checked and copied.

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
    layer_ids: Ints = None  # type: ignore[assignment]  # None means 0, 1, 2...
    weights: Floats = None  # type: ignore[assignment]  # None means 1 each
    name: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    tokens: TokenRouting | None = None

    def __post_init__(self) -> None:
        counts = counts_array(self.counts)
        steps, layers, _ = counts.shape
        values = {
            "counts": counts,
            "layer_ids": layer_indices(self.layer_ids, layers),
            "weights": step_weights(self.weights, steps),
        }
        for field_name, array in values.items():
            object.__setattr__(self, field_name, frozen(array))

    def __repr__(self) -> str:
        steps, layers, experts = self.counts.shape
        sizes = sizes_text(layers=layers, experts=experts, steps=steps)
        return f"<RoutingTrace{f' {self.name!r}' if self.name else ''}: {sizes}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    def summed(self, width: int) -> RoutingTrace:
        """Sum every `width` following steps into one step of a larger batch.

        Steps left over at the end are dropped; weights start again at 1.

        Raises
        ------
        ValueError
            `width` is below 1 or above the number of steps.
        """
        if width == 1:
            return self
        tokens = None if self.tokens is None else self.tokens.summed(width)
        return RoutingTrace.from_arrays(
            sum_windows(self.counts, width),
            layer_ids=self.layer_ids,
            name=self.name,
            provenance={**self.provenance, "summed_steps": width},
            tokens=tokens,
        )

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
        return cls(
            cast("Ints", counts),
            cast("Ints", layer_ids),
            cast("Floats", weights),
            name,
            dict(provenance or {}),
            tokens,
        )
