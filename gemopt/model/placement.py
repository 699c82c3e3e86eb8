"""The answer: which expert each physical slot holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape

import numpy as np

from gemopt.arrays import Ints, frozen, whole
from gemopt.model.sizes import sizes_text

#: Shares of replicas are whole multiples of 1 / SHARE_UNIT token, rounded down, so that
#: sums of shares are exact in float64 whatever their order.
SHARE_UNIT = 2**20


@dataclass(frozen=True, eq=False, repr=False)
class Placement:
    """Which expert each physical slot holds.

    Parameters
    ----------
    phy2log
        Expert in each slot, int64 ``[layers, slots]``. Slots 0..slots[0]-1 belong to
        GPU 0, the next slots[1] to GPU 1, and so on.
    slots
        Slots of each GPU, int64 ``[gpus]``.

    Raises
    ------
    ValueError
        Shapes that do not fit, or values that are not whole numbers. Whether the
        placement is *feasible* is what `gemopt.model.check` says.
    """

    phy2log: Ints
    slots: Ints

    def __post_init__(self) -> None:
        phy2log = whole("phy2log", self.phy2log, 2)
        slots = whole("slots", self.slots, 1)
        if slots.sum() != phy2log.shape[1]:
            raise ValueError(
                f"phy2log has {phy2log.shape[1]} slots but slots sums to {slots.sum()}"
            )
        object.__setattr__(self, "phy2log", frozen(phy2log))
        object.__setattr__(self, "slots", frozen(slots))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Placement):
            return NotImplemented
        return np.array_equal(self.slots, other.slots) and np.array_equal(
            self.phy2log, other.phy2log
        )

    def __hash__(self) -> int:
        return hash((self.phy2log.tobytes(), self.slots.tobytes()))

    def __repr__(self) -> str:
        sizes = sizes_text(
            layers=self.num_layers, slots=self.num_slots, GPUs=self.num_gpus
        )
        return f"<Placement {sizes}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(repr(self))}</code>"

    @property
    def num_layers(self) -> int:
        """Number of MoE layers."""
        return int(self.phy2log.shape[0])

    @property
    def num_slots(self) -> int:
        """Physical slots of all GPUs together."""
        return int(self.phy2log.shape[1])

    @property
    def num_gpus(self) -> int:
        """Number of GPUs."""
        return len(self.slots)

    @cached_property
    def slot2gpu(self) -> Ints:
        """GPU of each slot, int64 ``[slots]``."""
        return frozen(slot_owner(self.slots))

    def replicas(self, num_experts: int) -> Ints:
        """Copies of each expert, int64 ``[layers, experts]``."""
        counts = np.zeros((self.num_layers, num_experts), dtype=np.int64)
        rows = np.arange(self.num_layers)[:, None]
        np.add.at(counts, (rows, self.phy2log), 1)
        return counts

    def moves_from(self, other: Placement) -> int:
        """Count the experts that a GPU must fetch to come here from `other`.

        An expert that changes its slot within a GPU is not fetched.

        Raises
        ------
        ValueError
            The two have other layers or other slots.
        """
        if self.phy2log.shape != other.phy2log.shape or not np.array_equal(
            self.slots, other.slots
        ):
            raise ValueError(
                f"other has {other.num_layers} layers and slots "
                f"{other.slots.tolist()}, needs {self.num_layers} and "
                f"{self.slots.tolist()}"
            )
        experts = int(max(self.phy2log.max(), other.phy2log.max())) + 1
        shape = (self.num_layers, self.num_gpus, experts)
        here, there = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        layers = np.arange(self.num_layers)[:, None]
        np.add.at(here, (layers, self.slot2gpu, self.phy2log), 1)
        np.add.at(there, (layers, self.slot2gpu, other.phy2log), 1)
        return int(np.maximum(here - there, 0).sum())

    def gpu2experts(self, layer: int) -> list[list[int]]:
        """Experts of each GPU in `layer`, in slot order."""
        ends = np.cumsum(self.slots)[:-1]
        return [part.tolist() for part in np.split(self.phy2log[layer], ends)]


def slot_owner(slots: Ints) -> Ints:
    """GPU of each slot, int64 ``[slots]``, from the slots of each GPU."""
    return np.repeat(np.arange(len(slots), dtype=np.int64), slots)
