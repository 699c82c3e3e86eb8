"""Which tensor goes where when experts are renumbered; for files and for modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gemopt.arrays import Ints
from gemopt.checkpoint.families import Family, Part
from gemopt.model.placement import Placement

_INSTEAD = (
    "a checkpoint holds every expert once; leave it as it is and give the engine a "
    "map with `gemopt export` sglang, trtllm or vllm-ascend"
)


@dataclass(frozen=True)
class Move:
    """What becomes of one tensor.

    Attributes
    ----------
    name
        Its new name.
    order
        Old entry of the expert axis that each new entry takes, int64 ``[experts]``;
        None keeps the data as they are. Axes before that one have length 1.
    """

    name: str
    order: Ints | None = None


def rows_by_layer(placement: Placement, layer_ids: Sequence[int]) -> dict[int, Ints]:
    """Return the old expert of each new index, int64 ``[experts]``, by hidden layer.

    Parameters
    ----------
    placement
        One slot for each expert, equally many slots on each GPU; where they do not
        divide, the first GPUs have one more, as vLLM and TensorRT-LLM split experts.
    layer_ids
        Index in the model of each layer of `placement`.

    Raises
    ------
    ValueError
        Replicas, unequal slots, missing experts, or layer ids that do not fit; says
        what to use instead.
    """
    if len(layer_ids) != placement.num_layers:
        raise ValueError(
            f"layer_ids has {len(layer_ids)} values for {placement.num_layers} layers"
        )
    if len(set(layer_ids)) < len(layer_ids):
        raise ValueError(f"layer_ids = {list(layer_ids)} must all differ")
    slots = placement.slots.tolist()
    size, larger = divmod(sum(slots), len(slots))
    if slots != [size + (gpu < larger) for gpu in range(len(slots))]:
        raise ValueError(
            f"slots = {slots} are unequal: engines with contiguous placement give each "
            f"GPU equally many, or the first ones one more; {_INSTEAD}"
        )
    everyone = np.arange(placement.num_slots)
    for layer, row in zip(layer_ids, placement.phy2log, strict=True):
        if np.array_equal(np.sort(row), everyone):
            continue
        values, counts = np.unique(row, return_counts=True)
        if (counts > 1).any():
            expert = values[counts > 1][0]
            raise ValueError(
                f"layer {layer}: expert {expert} has {counts.max()} slots; {_INSTEAD}"
            )
        wrong = row[(row < 0) | (row >= len(row))][0]
        raise ValueError(f"layer {layer}: {wrong} is no expert (0..{len(row) - 1})")
    return {
        int(layer): row for layer, row in zip(layer_ids, placement.phy2log, strict=True)
    }


def moe_layers(names: Sequence[str], family: Family) -> list[int]:
    """Hidden layers that have experts, sorted."""
    parts = [part for name in names if (part := family.part(name)) is not None]
    return sorted({p.layer for p in parts if p.kind in ("expert", "packed")})


def plan_moves(
    shapes: Mapping[str, tuple[int, ...]],
    family: Family,
    rows: Mapping[int, Ints],
    groups: int = 1,
) -> dict[str, Move]:
    """Plan what becomes of every tensor.

    Parameters
    ----------
    shapes
        Shape of each tensor of the model, by name.
    family
        How they are named.
    rows
        What `rows_by_layer` returns; MoE layers that it does not name stay.
    groups
        Groups of experts among which the router chooses, see `expert_groups`.

    Returns
    -------
    dict
        A `Move` for each name in `shapes`.

    Raises
    ------
    ValueError
        A layer without experts, another number of experts, tensors that are missing
        or of unknown meaning, or an expert that would leave its group.
    """
    parts: dict[int, dict[str, Part]] = defaultdict(dict)
    for name in shapes:
        part = family.part(name)
        if part is not None:
            parts[part.layer][name] = part
    known = moe_layers(list(shapes), family)
    moves = {name: Move(name) for name in shapes}
    for layer, row in rows.items():
        if layer not in known:
            raise ValueError(
                f"layer {layer} of the placement has no experts in this {family.name} "
                f"model; layers with experts: {_ranges(known)}"
            )
        _check_layer(layer, parts[layer], shapes, family, len(row))
        _check_groups(layer, row, groups)
        moves.update(_layer_moves(parts[layer], shapes, row))
    return moves


def _num_rows(part: Part, shape: tuple[int, ...]) -> int:
    """Entries that belong to an expert each; 0 where the tensor is for them all.

    The first axis counts experts; Ernie's score corrections are ``[1, experts]``.
    """
    if part.kind not in ("packed", "router") or not shape:
        return 0
    return shape[1] if len(shape) == 2 and shape[0] == 1 else shape[0]


def _layer_moves(
    parts: Mapping[str, Part], shapes: Mapping[str, tuple[int, ...]], row: Ints
) -> dict[str, Move]:
    old2new = np.argsort(row)
    moves = {}
    for name, part in parts.items():
        if part.kind == "expert":
            moves[name] = Move(f"{part.head}{old2new[part.expert]}.{part.role}")
        elif _num_rows(part, shapes[name]):
            moves[name] = Move(name, row)
    return moves


def _check_layer(
    layer: int,
    parts: Mapping[str, Part],
    shapes: Mapping[str, tuple[int, ...]],
    family: Family,
    experts: int,
) -> None:
    modules: dict[int, set[str]] = defaultdict(set)
    roles = set()
    for name, part in parts.items():
        if part.kind == "other":
            raise ValueError(
                f"{name}: no {family.name} tensor that gemopt knows; cannot tell "
                "whether its rows belong to experts"
            )
        if part.kind == "expert":
            modules[part.expert].add(part.role.rpartition(".")[0])
        if part.kind == "router":
            roles.add(part.role)
        if (rows := _num_rows(part, shapes[name])) not in (0, experts):
            raise ValueError(f"{name} has {rows} experts, the placement has {experts}")
    if family.router[0] not in roles:
        raise ValueError(f"layer {layer} has no {family.router[0]}")
    if not modules:
        return
    if set(modules) != set(range(experts)):
        odd = min(set(modules) ^ set(range(experts)))
        what = "is missing" if odd < experts else "is not in the placement"
        raise ValueError(f"layer {layer}: expert {odd} of {experts} {what}")
    everything = set().union(*modules.values())
    for expert, own in sorted(modules.items()):
        if own != everything:
            lacks = min(everything - own)
            raise ValueError(f"layer {layer}: expert {expert} has no {lacks}")


def _check_groups(layer: int, row: Ints, groups: int) -> None:
    """Raise unless every new group of consecutive experts is one old group."""
    if groups == 1:
        return
    if len(row) % groups:
        raise ValueError(f"n_group = {groups} does not divide {len(row)} experts")
    old_group = (row // (len(row) // groups)).reshape(groups, -1)
    mixed = old_group != old_group[:, :1]
    if mixed.any():
        new, at = (int(i) for i in np.argwhere(mixed)[0])
        expert = int(row.reshape(groups, -1)[new, at])
        raise ValueError(
            f"layer {layer}: the router first chooses among {groups} groups of experts "
            f"(n_group) and expert {expert} would leave group {old_group[new, at]} for "
            f"one of group {old_group[new, 0]}, which changes the outputs; leave the "
            "checkpoint as it is and give the engine a map with `gemopt export` "
            "sglang, trtllm or vllm-ascend"
        )


def _ranges(numbers: Sequence[int]) -> str:
    """Shorten 3,4,5,9 to ``3-5, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ", ".join("-".join(map(str, run)) for run in runs) or "none"
