"""Group-limited routing: a token's experts lie in few groups of consecutive experts.

DeepSeek-V3 splits the experts of a layer into `n_group` groups, chooses `topk_group` of
them for a token and all its experts from those (`n_group` and `topk_group` are the
names in the model's configuration; engines pass the former as ``num_groups``). Where
every group sits on one host, no token visits more than `topk_group` hosts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def check_groups(n_group: int, topk_group: int, experts: int | None = None) -> None:
    """Raise ValueError unless the numbers fit together (and divide the experts)."""
    if n_group < 1 or not 1 <= topk_group <= n_group:
        raise ValueError(
            f"n_group = {n_group} and topk_group = {topk_group} must be at least 1, "
            "and topk_group at most n_group"
        )
    if experts is not None and experts % n_group:
        raise ValueError(f"n_group = {n_group} does not divide {experts} experts")


def check_tokens(
    expert_ids: NDArray[np.int16], n_group: int, topk_group: int, experts: int
) -> None:
    """Raise ValueError if a token's experts lie in more than `topk_group` groups.

    Parameters
    ----------
    expert_ids
        ``[tokens, layers, top_k]``.
    """
    check_groups(n_group, topk_group, experts)
    if topk_group >= min(n_group, expert_ids.shape[2]):
        return
    group = np.sort(expert_ids // (experts // n_group), axis=2)
    used = 1 + (np.diff(group, axis=2) > 0).sum(axis=2)
    if (used > topk_group).any():
        token, layer = (int(i) for i in np.argwhere(used > topk_group)[0])
        raise ValueError(
            f"expert_ids[{token}, {layer}] = {expert_ids[token, layer].tolist()} lies "
            f"in {used[token, layer]} of {n_group} groups, but topk_group = "
            f"{topk_group}"
        )


def on_one_host_each(row: Ints, slot2host: Ints, n_group: int, experts: int) -> bool:
    """Tell whether all copies of each group's experts are on one host."""
    group = row // (experts // n_group)
    pairs = np.unique(np.stack([group, slot2host]), axis=1)
    return pairs.shape[1] == n_group
