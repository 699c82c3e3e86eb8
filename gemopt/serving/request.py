"""What an engine asks of a policy, checked and in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import MAX_STEP_TOKENS, Ints

#: Weights that are no whole numbers are scaled so that the largest becomes this.
_SCALED_TO = 2**24
_LEAST = 2.0**-40  #: smaller weights count as 0
#: Largest load that is kept: sums of a million of them are finite in float32.
_LARGEST = 2.0**96


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


def as_loads(values: Any) -> NDArray[Any]:
    """Copy loads to numpy: numbers >= 0 whose sums are finite, in float32 too.

    Counters overflow and averages divide by zero: NaN and negative loads become 0,
    infinite ones twice the largest finite load, and too large ones are all divided by
    the same power of two. Other loads stay bit for bit.
    """
    loads = as_array(values)
    if loads.dtype.kind not in "iuf":
        loads = loads.astype(np.float64)
    if loads.size == 0:
        return loads
    if loads.dtype.kind in "iu":
        if loads.min() >= 0 and int(loads.max()) <= (2**63 - 1) // loads.size:
            return loads
    elif np.isfinite(loads).all() and 0 <= loads.min() <= loads.max() <= _LARGEST:
        return loads
    clean = loads.astype(np.float64)
    clean[np.isnan(clean) | (clean < 0)] = 0.0
    finite = np.isfinite(clean)
    largest = float(clean[finite].max(initial=0.0))
    shift = max(0, int(np.frexp(largest)[1]) - 95)
    clean = np.ldexp(clean, -shift)
    clean[~finite] = 2.0 * float(np.ldexp(largest, -shift)) or 1.0
    return clean


def whole_loads(loads: NDArray[Any], steps: int) -> tuple[Ints, int]:
    """Turn loads that `steps` steps add up into whole numbers that an instance takes.

    Returns
    -------
    tuple
        Loads, int64, and the steps that they stand for: more where fractions were
        multiplied, fewer where a sum passed `MAX_STEP_TOKENS`.
    """
    most = float(loads.sum(axis=2, dtype=np.float64).max())
    # Rounding adds at most a half for each expert.
    room = MAX_STEP_TOKENS - loads.shape[2]
    if most > room:
        fewer = max(1, int(steps * (room / most)))
        part = min(fewer / steps, room / most)
        return np.rint(loads * part).astype(np.int64), fewer
    if loads.dtype.kind != "f" or np.array_equal(loads, np.floor(loads)):
        return loads.astype(np.int64), steps
    scale = 1
    while (
        loads.max() * scale * 2 <= _SCALED_TO
        and most * scale * 2 <= room
        and scale * _LEAST < 1
    ):
        scale *= 2
    return np.rint(loads * scale).astype(np.int64), steps * scale


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
