"""What an engine asks of a policy, checked and in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints

#: Weights that are no whole numbers are scaled so that the largest becomes this.
_SCALED_TO = 2**24


class PolicyCallError(AssertionError):
    """An engine called a policy with numbers that do not fit.

    An AssertionError, as DeepSeek's code and the engines' tests have it.
    """


@dataclass(frozen=True)
class Request:
    """One call of a policy.

    Attributes
    ----------
    loads
        Tokens of each expert, numbers >= 0 ``[rows, layers, experts]``.
    row_steps
        Steps that one row adds up.
    slots, ranks
        Physical slots, and ranks that have equally many of them.
    groups, nodes
        Groups of experts, and hosts among which whole groups are dealt out where
        `nodes` divides `groups`; else experts may go anywhere.
    old
        Expert of each slot now, int64 ``[layers, slots]``; None when there is none.
    """

    loads: NDArray[Any]
    row_steps: int
    slots: int
    ranks: int
    groups: int = 1
    nodes: int = 1
    old: Ints | None = None

    def __post_init__(self) -> None:
        if self.loads.ndim != 3 or self.loads.size == 0:
            raise PolicyCallError(
                f"loads have shape {self.loads.shape}, need [rows, layers, experts]"
            )
        experts = self.num_experts
        for held, text in (
            (self.ranks >= 1 and self.nodes >= 1 and self.groups >= 1, "all >= 1"),
            (self.slots % max(self.ranks, 1) == 0, "equally many slots per rank"),
            (self.slots >= experts, f"a slot for each of {experts} experts"),
        ):
            if not held:
                raise PolicyCallError(self._numbers(f"needs {text}"))
        if self.hierarchical:
            if experts % self.groups:
                raise PolicyCallError(self._numbers(f"groups must divide {experts}"))
            if self.ranks % self.nodes:
                raise PolicyCallError(self._numbers("nodes must divide ranks"))

    def _numbers(self, problem: str) -> str:
        return (
            f"slots = {self.slots}, ranks = {self.ranks}, groups = {self.groups}, "
            f"nodes = {self.nodes}: {problem}"
        )

    @property
    def num_layers(self) -> int:
        """MoE layers."""
        return int(self.loads.shape[1])

    @property
    def num_experts(self) -> int:
        """Logical experts of a layer."""
        return int(self.loads.shape[2])

    @property
    def per_rank(self) -> Ints:
        """Slots of each rank, int64 ``[ranks]``."""
        return np.full(self.ranks, self.slots // self.ranks, dtype=np.int64)

    @property
    def hierarchical(self) -> bool:
        """Whole groups of experts stay on a host."""
        return self.nodes > 0 and self.groups % self.nodes == 0

    @property
    def searchable(self) -> bool:
        """Slots fit gemopt's rule of at most one copy of an expert on a rank."""
        return self.slots // self.ranks <= self.num_experts


def as_array(values: Any) -> NDArray[Any]:
    """Copy a torch tensor on any device, or anything array-like, to numpy."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values.long()
    return np.asarray(values)


def whole_loads(loads: NDArray[Any]) -> tuple[Ints, int]:
    """Turn loads into whole numbers.

    Returns
    -------
    tuple
        Loads, int64, and the power of two by which fractions were multiplied.

    Raises
    ------
    ValueError
        A load is negative or not finite.
    """
    if not (np.isfinite(loads).all() and loads.min() >= 0):
        raise ValueError("loads must be finite and >= 0")
    if loads.dtype.kind != "f" or np.array_equal(loads, np.floor(loads)):
        return loads.astype(np.int64), 1
    scale = 1
    while loads.max() * scale * 2 <= _SCALED_TO:
        scale *= 2
    return np.rint(loads * scale).astype(np.int64), scale


def known_placement(old: Any, layers: int, slots: int, experts: int) -> Ints | None:
    """Return the current placement if it can be kept, else None.

    After elastic scaling an engine hands over slots that are -1, or another number of
    them; then there is nothing to keep.
    """
    if old is None:
        return None
    array = as_array(old)
    if array.shape != (layers, slots) or array.dtype.kind not in "iu":
        return None
    if array.size == 0 or array.min() < 0 or array.max() >= experts:
        return None
    present = np.zeros((layers, experts), dtype=np.bool_)
    present[np.arange(layers)[:, None], array] = True
    return array.astype(np.int64) if present.all() else None
