"""Renumber the experts of a model that is in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gemopt.checkpoint.families import expert_groups, family_of
from gemopt.checkpoint.plan import moe_layers, plan_moves, rows_by_layer
from gemopt.model.placement import Placement

if TYPE_CHECKING:
    import torch


def apply_to(
    model: torch.nn.Module,
    placement: Placement,
    *,
    layer_ids: Sequence[int] | None = None,
) -> None:
    """Renumber the experts of a transformers model in place.

    Expert ``phy2log[l, s]`` becomes number s of its layer, with its weights, router
    row, router bias and score correction; the outputs stay the same.

    Parameters
    ----------
    model
        A transformers model of a known family, with its `config`.
    placement
        One slot for each expert, see `gemopt.checkpoint.apply_checkpoint`.
    layer_ids
        Hidden layer of each layer of `placement`; None means the model's MoE layers
        in order.

    Raises
    ------
    ValueError
        As `gemopt.checkpoint.apply_checkpoint`; the model is then unchanged.
    """
    import torch

    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "to_dict"):
        raise ValueError(f"model {type(model).__name__} has no transformers config")
    settings = config.to_dict()
    family = family_of(settings)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    ids = moe_layers(list(shapes), family) if layer_ids is None else list(layer_ids)
    rows = rows_by_layer(placement, ids)
    moves = plan_moves(shapes, family, rows, expert_groups(settings))
    renamed: dict[tuple[int, str], dict[str, str]] = defaultdict(dict)
    for name, move in moves.items():
        part = family.part(name)
        if part is not None and move.name != name:
            renamed[part.layer, part.role][name] = move.name
            if shapes[name] != shapes[move.name]:
                raise ValueError(
                    f"{name} has shape {shapes[name]}, {move.name} {shapes[move.name]}"
                )
    with torch.no_grad():
        for name, move in moves.items():
            if move.order is not None:
                tensor = tensors[name]
                order = torch.tensor(move.order, device=tensor.device)
                by_expert = tensor.reshape(len(move.order), -1)
                tensor.copy_(by_expert[order].reshape(tensor.shape))
        for names in renamed.values():  # one matrix of one layer at a time
            copies = {new: tensors[old].clone() for old, new in names.items()}
            for new, data in copies.items():
                tensors[new].copy_(data)
