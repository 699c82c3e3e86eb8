"""A placement as engines see it: equal ranks, layers by their index in the model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from gemopt.arrays import Ints, layer_indices, whole
from gemopt.files.errors import FileError
from gemopt.model.placement import Placement


@dataclass(frozen=True, eq=False)
class EngineMap:
    """A placement and the index of each of its layers in the model.

    Attributes
    ----------
    placement
        Equal slots a GPU; every expert has a slot in each layer.
    layer_ids
        int64 ``[layers]``.
    """

    placement: Placement
    layer_ids: Ints

    @property
    def num_experts(self) -> int:
        """Logical experts of a layer."""
        return int(self.placement.phy2log.max()) + 1

    @property
    def slots_per_gpu(self) -> int:
        """Slots of each GPU."""
        return int(self.placement.slots[0])


def engine_map(
    engine: str, placement: Placement, layer_ids: ArrayLike | None
) -> EngineMap:
    """Check what every engine asks of a map.

    Raises
    ------
    ValueError
        Unequal slots, ids that are no experts, an expert without a slot, or layer ids
        that do not fit.
    """
    slots = placement.slots
    if not len(slots) or slots.min() != slots.max() or not slots[0]:
        raise ValueError(
            f"slots = {slots.tolist()}: {engine} puts slot s on rank s // (slots / "
            "ranks), so all GPUs need the same number; solve with equal slots"
        )
    phy2log = placement.phy2log
    if not phy2log.size or phy2log.min() < 0:
        raise ValueError("phy2log holds an id below 0, or nothing")
    experts = int(phy2log.max()) + 1
    missing = np.argwhere(placement.replicas(experts) == 0)
    if len(missing):
        layer, expert = (int(i) for i in missing[0])
        raise ValueError(
            f"phy2log[{layer}]: expert {expert} has no slot; {engine} needs all of "
            f"0..{experts - 1} in every layer"
        )
    return EngineMap(placement, layer_indices(layer_ids, placement.num_layers))


def read_rows(
    path: Path,
    name: str,
    rows: object,
    gpus: int,
    layer_ids: ArrayLike | None,
    own_ids: ArrayLike | None = None,
) -> EngineMap:
    """Make the map of the rows of a file.

    Parameters
    ----------
    path, name
        The file and its field, for errors.
    rows
        Expert in each slot ``[layers, slots]``.
    gpus
        Ranks; slots divide by it.
    layer_ids
        Which rows to keep, by index in the model; None means all.
    own_ids
        Index of each row in the model; None means 0, 1, 2...

    Raises
    ------
    FileError
        Names the file, the field and the value.
    """
    try:
        phy2log = whole(name, rows, 2)  # type: ignore[arg-type]
        own = layer_indices(own_ids, len(phy2log))
        if gpus < 1 or phy2log.shape[1] % gpus:
            raise ValueError(
                f"{name} has {phy2log.shape[1]} slots, which do not divide by "
                f"{gpus} GPUs"
            )
        ids = own if layer_ids is None else np.asarray(layer_ids, dtype=np.int64)
        where = {layer: row for row, layer in enumerate(own.tolist())}
        for layer in ids.tolist():
            if layer not in where:
                raise ValueError(f"{name} has no layer {layer}")
        phy2log = phy2log[[where[layer] for layer in ids.tolist()]]
        slots = np.full(gpus, phy2log.shape[1] // gpus)
        return engine_map("the engine", Placement(phy2log, slots), ids)
    except ValueError as error:
        raise FileError(path, str(error)) from None


def contiguous_row(experts: int, gpus: int, slots_per_gpu: int) -> list[int]:
    """Map of a layer without a placement: neighbours together, none twice on a GPU."""
    return [
        (gpu * experts // gpus + slot) % experts
        for gpu in range(gpus)
        for slot in range(slots_per_gpu)
    ]
