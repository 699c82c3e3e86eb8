"""Finding the routers of a transformers model, and reading what they chose."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_ROUTERS = ("gate", "router")


@dataclass(eq=False)
class MoeBlock:
    """One MoE layer: its router, its experts, and what was chosen last.

    Attributes
    ----------
    name
        Path of the block in the model.
    layer_id
        Index of the layer in the model, the last number in `name`; -1 without one.
    block, router, experts
        The modules.
    num_experts
        Logical experts.
    """

    name: str
    layer_id: int
    block: "nn.Module"
    router: "nn.Module"
    experts: "nn.Module"
    num_experts: int
    _ids: "Tensor | None" = field(default=None, repr=False)
    _logits: "Tensor | None" = field(default=None, repr=False)

    def saw_router(self, output: Any) -> None:
        """Keep expert ids from the router's output, or else its logits."""
        tensors = list(_tensors(output))
        ids = [t for t in tensors if _is_ids(t)]
        if ids:
            self._ids = ids[0]
            return
        wide = [t for t in tensors if t.shape[-1:] == (self.num_experts,)]
        if wide:
            # Llama-4 returns (scores, logits); the scores of large negative logits
            # vanish in bfloat16, the logits do not.
            self._logits = wide[-1].reshape(-1, self.num_experts)

    def saw_experts(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Keep the ids that the experts are called with, if the router gave none."""
        if self._ids is None:
            ids = [t for t in _tensors([*arguments, *named.values()]) if _is_ids(t)]
            self._ids = ids[0] if ids else None

    def take(self) -> "Tensor | None":
        """Experts of each token of the last forward pass, ``[tokens, top_k]``.

        None if the block did not run. What was kept is forgotten.

        Raises
        ------
        ValueError
            The block ran, but its choice cannot be told.
        """
        ids, logits = self._ids, self._logits
        self._ids = self._logits = None
        if ids is None and logits is not None:
            ids = logits.topk(self._top_k(), dim=-1).indices
        if ids is not None and ids.numel():
            low, high = int(ids.min()), int(ids.max())
            if low < 0 or high >= self.num_experts or ids.shape[1] > self.num_experts:
                raise ValueError(
                    f"{self.name}: {type(self.router).__name__} gives ids {low}..{high}"
                    f" for {self.num_experts} experts; its output is not understood"
                )
        return ids

    def _top_k(self) -> int:
        for module in (self.router, self.block, getattr(self.block, "config", None)):
            for name in ("top_k", "num_experts_per_tok"):
                value = getattr(module, name, None)
                if isinstance(value, int):
                    return value
        raise ValueError(
            f"{self.name}: {type(self.router).__name__} returns no expert ids and has "
            "no top_k; its choice cannot be told"
        )


def find_blocks(model: "nn.Module") -> list[MoeBlock]:
    """All MoE blocks of `model`: modules with experts and a gate or router.

    Raises
    ------
    ValueError
        None at all, or blocks with unequal numbers of experts.
    """
    found = []
    for name, block in model.named_modules():
        children = dict(block.named_children())
        router = next((children[r] for r in _ROUTERS if r in children), None)
        if router is None or "experts" not in children:
            continue
        experts = _num_experts(router, children["experts"], block)
        if experts is None:
            continue
        numbers = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", name)
        layer = int(numbers[-1]) if numbers else -1
        found.append(MoeBlock(name, layer, block, router, children["experts"], experts))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no MoE block (a module with experts and a "
            "gate or router); nothing to record"
        )
    sizes = {each.num_experts for each in found}
    if len(sizes) > 1:
        raise ValueError(
            f"{type(model).__name__} has layers of {sorted(sizes)} experts; "
            "a trace needs one number"
        )
    return found


def _num_experts(router: Any, experts: Any, block: Any) -> int | None:
    for module in (router, experts, block):
        for name in ("num_experts", "n_routed_experts", "num_local_experts"):
            value = getattr(module, name, None)
            if isinstance(value, int):
                return value
    out = getattr(router, "out_features", None)  # a plain linear gate
    if isinstance(out, int):
        return out
    return len(experts) if hasattr(experts, "__len__") else None


def _tensors(value: Any) -> Iterator["Tensor"]:
    if hasattr(value, "is_floating_point"):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)


def _is_ids(tensor: "Tensor") -> bool:
    """Whole numbers, one row a token."""
    whole = not tensor.is_floating_point() and "bool" not in str(tensor.dtype)
    return whole and tensor.dim() == 2
