"""GPUs that may exchange all they hold at no cost: equal latency, equal slots."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from gemopt.arrays import Ints, frozen
from gemopt.latency.base import LatencyModel
from gemopt.latency.tables import LatencyTables, compile_tables

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, eq=False)
class GpuClasses:
    """GPUs grouped by equal latency and equal slots, in order of first appearance.

    Attributes
    ----------
    of_gpu
        Class of each GPU, int64 ``[gpus]``.
    models
        Latency model of each class.
    members, slots
        GPUs of each class and slots of each of them, int64 ``[classes]``.
    """

    of_gpu: Ints
    models: tuple[LatencyModel, ...]
    members: Ints
    slots: Ints

    @classmethod
    def of(cls, latency: Sequence[LatencyModel], slots: Ints) -> GpuClasses:
        """Group GPUs by their latency models and their slots ``[gpus]``."""
        keys = [(model, int(s)) for model, s in zip(latency, slots, strict=True)]
        number = numbered(keys)
        of_gpu = np.array([number[key] for key in keys], dtype=np.int64)
        return cls(
            of_gpu=frozen(of_gpu),
            models=tuple(model for model, _ in number),
            members=frozen(np.bincount(of_gpu).astype(np.int64)),
            slots=frozen(np.array([s for _, s in number], dtype=np.int64)),
        )

    def __len__(self) -> int:
        return len(self.models)

    @cached_property
    def tables(self) -> LatencyTables:
        """Latency of the classes in the form that the kernels read."""
        return compile_tables(self.models)


def numbered(keys: Sequence[Key]) -> dict[Key, int]:
    """Number different keys from 0 in order of first appearance."""
    return {key: i for i, key in enumerate(dict.fromkeys(keys))}
