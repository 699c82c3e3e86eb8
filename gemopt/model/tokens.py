"""Which experts every token of every step chose, and where the token lives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.model.expert_groups import check_groups

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TokenRouting:
    """Per-token routing of a trace.

    Attributes
    ----------
    expert_ids
        Experts that each token chose, int16 ``[tokens, layers, top_k]``, all
        different within a row.
    step_offsets
        Tokens of step t are ``step_offsets[t] <= i < step_offsets[t + 1]``, int64
        ``[steps + 1]``.
    source
        GPU on which each token starts (its data-parallel rank), int64 ``[tokens]``;
        None spreads the tokens of a step evenly: the i-th starts on GPU i mod G.
    n_group, topk_group
        Groups of consecutive experts, and in how many of them the experts of a token
        lie, see `gemopt.model.expert_groups`; 1 and 1 without group-limited routing.
    """

    expert_ids: NDArray[np.int16]
    step_offsets: Ints
    source: Ints | None = None
    n_group: int = 1
    topk_group: int = 1

    @classmethod
    def from_arrays(
        cls,
        expert_ids: ArrayLike,
        step_offsets: ArrayLike,
        source: ArrayLike | None = None,
        *,
        n_group: int = 1,
        topk_group: int = 1,
    ) -> TokenRouting:
        """Check and freeze the arrays.

        Raises
        ------
        ValueError
            Wrong dimensions, a token that chose an expert twice, negative ids,
            offsets that do not rise from 0 to the number of tokens, numbers of groups
            that do not fit. Whether tokens keep to their groups is checked once the
            number of experts is known, by `Communication`.
        """
        check_groups(n_group, topk_group)
        ids = np.array(expert_ids, dtype=np.int16)
        offsets = np.array(step_offsets, dtype=np.int64)
        if ids.ndim != 3:
            raise ValueError(f"expert_ids has {ids.ndim} dimensions, needs 3")
        if ids.size and ids.min() < 0:
            raise ValueError(f"expert_ids has the negative id {ids.min()}")
        twice = (np.diff(np.sort(ids, axis=2), axis=2) == 0).any(axis=2)
        if twice.any():
            token, layer = (int(i) for i in np.argwhere(twice)[0])
            raise ValueError(
                f"expert_ids[{token}, {layer}] = {ids[token, layer].tolist()} "
                "names an expert twice"
            )
        rises = len(offsets) > 1 and offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        if not rises or offsets[-1] != len(ids):
            raise ValueError(
                f"step_offsets must rise from 0 to the {len(ids)} tokens of expert_ids"
            )
        start = None if source is None else np.array(source, dtype=np.int64)
        if start is not None and start.shape != (len(ids),):
            raise ValueError(f"source has shape {start.shape}, needs ({len(ids)},)")
        for array in (ids, offsets, *(() if start is None else (start,))):
            array.setflags(write=False)
        return cls(ids, offsets, start, n_group, topk_group)

    @property
    def top_k(self) -> int:
        """Experts that each token chooses in a layer."""
        return int(self.expert_ids.shape[2])

    @property
    def num_steps(self) -> int:
        """Steps of the trace."""
        return len(self.step_offsets) - 1

    def counts(self, num_experts: int) -> Ints:
        """Tokens of each expert, int64 ``[steps, layers, experts]``."""
        layers = self.expert_ids.shape[1]
        step = np.repeat(np.arange(self.num_steps), np.diff(self.step_offsets))
        flat = (step[:, None] * layers + np.arange(layers)) * num_experts
        keys = (flat[:, :, None] + self.expert_ids).ravel()
        total = np.bincount(keys, minlength=self.num_steps * layers * num_experts)
        return total.reshape(self.num_steps, layers, num_experts)

    def starts(self, num_gpus: int) -> Ints:
        """GPU on which each token starts, int64 ``[tokens]``."""
        if self.source is not None:
            return self.source
        first = np.repeat(self.step_offsets[:-1], np.diff(self.step_offsets))
        return (np.arange(len(self.expert_ids)) - first) % num_gpus

    def steps(self, start: int, stop: int) -> TokenRouting:
        """Return the routing of steps ``start <= t < stop``."""
        low, high = self.step_offsets[start], self.step_offsets[stop]
        return replace(
            self,
            expert_ids=self.expert_ids[low:high],
            step_offsets=self.step_offsets[start : stop + 1] - low,
            source=None if self.source is None else self.source[low:high],
        )

    def summed(self, width: int) -> TokenRouting:
        """Join every `width` following steps into one; left-over steps are dropped."""
        offsets = self.step_offsets[::width]
        kept = int(offsets[-1])
        return replace(
            self,
            expert_ids=self.expert_ids[:kept],
            step_offsets=offsets,
            source=None if self.source is None else self.source[:kept],
        )

    def layer(self, index: int) -> TokenRouting:
        """Return the routing of one layer."""
        return replace(self, expert_ids=self.expert_ids[:, index : index + 1])
