"""What every GPU computes in every step under each placement. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gemopt.model.instance import Instance
    from gemopt.model.placement import Placement

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ReplayPlan:
    """Loads of all GPUs, and what the latency models say that they take.

    Attributes
    ----------
    names
        Names of the placements; the first one is the baseline.
    counts
        Tokens of every slot, int64 ``[placements, steps, layers, gpus, slots]``. GPUs
        with fewer slots than others end in zeros.
    predicted_us
        Latency of every GPU by its model, us ``[placements, steps, layers, gpus]``.
    mean_tokens
        Tokens per expert of the whole step, ``[steps, layers]``.
    weights
        How often each step counts, ``[steps]``.
    gpu_names
        Name of each GPU.
    layer_ids
        Index of each layer in the model, int64 ``[layers]``.
    """

    names: tuple[str, ...]
    counts: Ints
    predicted_us: Floats
    mean_tokens: Floats
    weights: Floats
    gpu_names: tuple[str, ...]
    layer_ids: Ints

    @property
    def num_gpus(self) -> int:
        """GPUs of the instance."""
        return int(self.counts.shape[3])

    @property
    def slots(self) -> int:
        """Most slots of a GPU."""
        return int(self.counts.shape[4])

    @property
    def max_tokens(self) -> int:
        """Most tokens that one GPU gets at once."""
        return int(self.counts.sum(axis=4).max())

    def save(self, path: str | Path) -> None:
        """Write everything to an ``.npz`` file.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        from gemopt.files.atomic import replacing

        with replacing(path) as temporary, temporary.open("xb") as file:
            np.savez_compressed(
                file,
                names=np.array(self.names),
                counts=self.counts.astype(np.int32),
                predicted_us=self.predicted_us,
                mean_tokens=self.mean_tokens,
                weights=self.weights,
                gpu_names=np.array(self.gpu_names),
                layer_ids=self.layer_ids,
            )

    @classmethod
    def load(cls, path: str | Path) -> ReplayPlan:
        """Read what `save` wrote.

        Raises
        ------
        ValueError
            An array is missing; names the file.
        OSError
            The file cannot be read.
        """
        with np.load(path, allow_pickle=False) as file:
            try:
                return cls(
                    tuple(map(str, file["names"])),
                    file["counts"].astype(np.int64),
                    file["predicted_us"],
                    file["mean_tokens"],
                    file["weights"],
                    tuple(map(str, file["gpu_names"])),
                    file["layer_ids"],
                )
            except KeyError as error:
                raise ValueError(f"{path}: {error.args[0]}; no replay plan") from None


def make_plan(instance: Instance, placements: Mapping[str, Placement]) -> ReplayPlan:
    """Plan the replay of `placements` on every step and layer of `instance`.

    Parameters
    ----------
    instance
        The steps to be replayed.
    placements
        Placements by name; the first one is the baseline.

    Raises
    ------
    ValueError
        No placements, or one that is not feasible; says which.
    """
    from gemopt.cost.evaluate import evaluate
    from gemopt.model.check import violations

    if not placements:
        raise ValueError("placements is empty; give at least one to replay")
    for name, placement in placements.items():
        if broken := violations(instance, placement):
            raise ValueError(f"placement {name!r}: {broken[0]}")
    return ReplayPlan(
        tuple(placements),
        np.stack([gpu_counts(instance, each) for each in placements.values()]),
        np.stack([evaluate(instance, each).per_gpu for each in placements.values()]),
        instance.step_tokens.T / instance.num_experts,
        instance.weights,
        instance.gpu_names,
        instance.layer_ids,
    )


def gpu_counts(instance: Instance, placement: Placement) -> Ints:
    """Whole tokens of every slot, int64 ``[steps, layers, gpus, slots]``.

    An expert's tokens are split evenly over its replicas, as in the model; the tokens
    that are left over go to its first replicas, one each, since hardware takes no
    fractions.
    """
    steps, layers = instance.num_steps, instance.num_layers
    width = int(instance.slots.max())
    counts = np.zeros((layers, instance.num_gpus, width, steps), dtype=np.int64)
    first = np.cumsum(instance.slots) - instance.slots
    gpu = placement.slot2gpu
    column = np.arange(placement.num_slots) - first[gpu]
    copies = placement.replicas(instance.num_experts)
    for layer, row in enumerate(placement.phy2log):
        rank, used = np.zeros_like(row), np.zeros_like(copies[layer])
        for slot, expert in enumerate(row):
            rank[slot] = used[expert]
            used[expert] += 1
        loads = instance.loads[layer, row]  # [slots, steps]
        share, left = np.divmod(loads, copies[layer, row][:, None])
        counts[layer, gpu, column] = share + (rank[:, None] < left)
    return counts.transpose(3, 0, 1, 2)
