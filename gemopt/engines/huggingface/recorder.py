"""`gemopt.record`: the routing of a transformers model while it generates."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from gemopt.arrays import Ints
from gemopt.engines.huggingface.routers import MoeBlock, find_blocks
from gemopt.files.trace_file import save_trace
from gemopt.model.trace import RoutingTrace

if TYPE_CHECKING:
    from torch import nn

Ids = NDArray[np.int32]
_NOTHING = "nothing was recorded: run the model inside the with block"


class Recorder:
    """Routing of every forward pass inside a ``with`` block; see `record`.

    Attributes
    ----------
    layer_ids
        Index of each MoE layer in the model, int64 ``[layers]``.
    num_experts
        Logical experts of a layer.
    """

    def __init__(self, model: "nn.Module", token_ids: bool = False) -> None:
        self._model = model
        self._blocks = find_blocks(model)
        self._keep_ids = token_ids
        self._handles: list[Any] = []
        self._steps: list[Ints] = []
        self._ids: list[Ids] = []  # of each step, [rows, length, layers, top_k]
        self._real: list[NDArray[np.bool_]] = []  # of each step: no padding
        self._begins: list[bool] = []  # of each step: its rows are new requests
        self._pass: tuple[NDArray[np.bool_] | None, bool] = (None, True)
        ids = [block.layer_id for block in self._blocks]
        if -1 in ids or len(set(ids)) < len(ids):
            ids = list(range(len(ids)))
        self.layer_ids: Ints = np.array(ids, dtype=np.int64)
        self.num_experts = self._blocks[0].num_experts

    def __enter__(self) -> Self:
        hook = self._handles.append
        hook(self._model.register_forward_pre_hook(self._before, with_kwargs=True))
        hook(self._model.register_forward_hook(self._after))
        for block in self._blocks:
            hook(block.router.register_forward_hook(_router_hook(block)))
            hook(
                block.experts.register_forward_pre_hook(
                    _experts_hook(block), with_kwargs=True
                )
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def trace(self, name: str = "") -> RoutingTrace:
        """Return what was recorded: one step a forward pass, padding left out.

        Raises
        ------
        ValueError
            No forward pass was recorded.
        """
        if not self._steps:
            raise ValueError(_NOTHING)
        return RoutingTrace.from_arrays(
            np.stack(self._steps),
            layer_ids=self.layer_ids,
            name=name,
            provenance={"engine": "transformers", "model": type(self._model).__name__},
        )

    def save(self, path: str | Path) -> None:
        """Write the trace file that `gemopt build` takes."""
        target = Path(path)
        name = target.name.removesuffix(".safetensors").removesuffix(".trace")
        save_trace(self.trace(name), target)

    def token_ids(self) -> tuple[Ids, Ints]:
        """Return the experts of each token, request by request.

        Returns
        -------
        tuple
            `expert_ids` int32 ``[tokens, layers, top_k]`` and `request_offsets` int64
            ``[requests + 1]``: what `gemopt.traffic.serving_steps` takes. A request is
            one row of a batch, from its prompt on.

        Raises
        ------
        ValueError
            They were not asked for, or nothing was recorded.
        """
        if not self._keep_ids:
            raise ValueError("ids were not kept: use record(model, token_ids=True)")
        if not self._ids:
            raise ValueError(_NOTHING)
        requests: list[list[Ids]] = []
        rows: list[list[Ids]] = []
        for ids, real, begins in zip(self._ids, self._real, self._begins, strict=True):
            if begins or len(ids) != len(rows):
                rows = [[] for _ in ids]
                requests += rows
            for row, own, shown in zip(rows, ids, real, strict=True):
                row.append(own[shown])
        whole = [np.concatenate(parts) for parts in requests]
        lengths = [len(each) for each in whole]
        return np.concatenate(whole), np.cumsum([0, *lengths], dtype=np.int64)

    def save_token_ids(self, path: str | Path) -> None:
        """Write them as safetensors for ``gemopt import tokens``."""
        from safetensors.numpy import save

        from gemopt.files.atomic import write_bytes

        ids, offsets = self.token_ids()
        arrays: dict[str, NDArray[Any]] = {
            "expert_ids": ids,
            "request_offsets": offsets,
            "layer_ids": self.layer_ids,
        }
        write_bytes(path, save(arrays))

    def _before(
        self, model: "nn.Module", arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        mask: Any = named.get("attention_mask")
        real = None
        if getattr(mask, "ndim", 0) == 2:
            real = mask.detach().bool().cpu().numpy()
        self._pass = real, _no_past(named)

    def _after(self, model: "nn.Module", arguments: Any, output: Any) -> None:
        taken = [block.take() for block in self._blocks]
        chosen = [None if t is None else t.detach().cpu().numpy() for t in taken]
        tokens = {len(ids) for ids in chosen if ids is not None}
        if not tokens:
            return
        if len(tokens) > 1:
            raise ValueError(
                f"layers routed {sorted(tokens)} tokens in one forward pass; "
                "a step needs one number"
            )
        real = self._real_tokens(tokens.pop())
        step = np.zeros((len(self._blocks), self.num_experts), dtype=np.int64)
        for layer, ids in enumerate(chosen):
            if ids is not None:
                real_ids = ids[real.ravel()].ravel()
                step[layer] = np.bincount(real_ids, minlength=self.num_experts)
        self._steps.append(step)
        if self._keep_ids:
            if any(ids is None for ids in chosen):
                raise ValueError("a layer did not run; token ids need all of them")
            stacked = np.stack([i for i in chosen if i is not None], axis=1)
            rows = stacked.astype(np.int32).reshape(*real.shape, *stacked.shape[1:])
            self._ids.append(rows)
            self._real.append(real)
            mask, begins = self._pass
            self._begins.append(begins if mask is None else mask.shape == real.shape)

    def _real_tokens(self, tokens: int) -> NDArray[np.bool_]:
        """Which tokens of this pass are no padding, bool ``[rows, length]``."""
        mask, _ = self._pass
        if mask is None or tokens % len(mask):
            return np.ones((1, tokens), dtype=np.bool_)
        length = tokens // len(mask)
        if length > mask.shape[1]:
            return np.ones((len(mask), length), dtype=np.bool_)
        return mask[:, mask.shape[1] - length :]


def record(model: "nn.Module", *, token_ids: bool = False) -> Recorder:
    """Record the routing of a transformers MoE model.

    Parameters
    ----------
    model
        Any model whose MoE blocks have experts and a gate or router; the one that is
        called, or whose `generate` is.
    token_ids
        Keep the experts of each token as well.

    Returns
    -------
    Recorder
        A context manager; hooks are there inside the ``with`` block only. Give batches
        with an `attention_mask`: it tells padding and rows apart.

    Raises
    ------
    ValueError
        The model has no MoE block.

    Examples
    --------
    >>> with gemopt.record(model) as recorder:  # doctest: +SKIP
    ...     model.generate(**inputs, max_new_tokens=256)
    >>> recorder.save("mixtral.trace.safetensors")  # doctest: +SKIP
    """
    return Recorder(model, token_ids)


def _no_past(named: dict[str, Any]) -> bool:
    """Tell whether a forward pass starts with an empty cache, or has none."""
    # The cache's argument has another name in other versions of transformers.
    for cache in named.values():
        if hasattr(cache, "get_seq_length"):
            try:
                return bool(cache.get_seq_length() == 0)
            except ValueError:  # a cache without attention layers has no length
                return True
    return True


def _router_hook(block: MoeBlock) -> Any:
    def hook(module: Any, arguments: Any, output: Any) -> None:
        block.saw_router(output)

    return hook


def _experts_hook(block: MoeBlock) -> Any:
    def hook(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        block.saw_experts(arguments, named)

    return hook
