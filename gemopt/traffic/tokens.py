"""Seeded synthetic per-token routing, with or without a limit on groups."""

from __future__ import annotations

import numpy as np

from gemopt.model.expert_groups import check_groups
from gemopt.model.tokens import TokenRouting
from gemopt.traffic.draw import SHARE_GRID, Floats
from gemopt.traffic.generate import check_sizes, family_shares


def draw_tokens(
    steps: int,
    layers: int,
    experts: int,
    *,
    tokens: int,
    top_k: int,
    n_group: int = 1,
    topk_group: int = 1,
    family: str = "bursts",
    seed: int = 0,
) -> TokenRouting:
    """Draw the experts of every token; the same arguments give the same ids anywhere.

    A token scores every expert by its share over an exponential draw, so that the
    largest scores are experts drawn by share without replacement. With groups it keeps,
    as DeepSeek-V3's router does, the `topk_group` groups whose two best scores sum to
    most, and takes its experts from those. Beyond that tokens choose independently.

    Parameters
    ----------
    steps, layers, experts, tokens, top_k, family, seed
        As in `gemopt.traffic.generate`.
    n_group, topk_group
        Groups of consecutive experts, and how many of them a token may use.

    Returns
    -------
    TokenRouting
        ``steps * tokens`` tokens, as many at each step.

    Raises
    ------
    ValueError
        As `generate`; groups that do not divide the experts, or with fewer experts in
        `topk_group` of them than a token takes.
    """
    check_sizes(steps, layers, experts, tokens, top_k, family, seed)
    check_groups(n_group, topk_group, experts)
    size = experts // n_group
    if n_group > 1 and topk_group * size < top_k:
        raise ValueError(
            f"top_k = {top_k} is more than the {topk_group * size} experts of "
            f"topk_group = {topk_group} groups"
        )
    ids = np.empty((steps * tokens, layers, top_k), dtype=np.int16)
    for layer in range(layers):
        rng, shares = family_shares(family, seed, layer, steps, experts)
        grid = np.rint(shares / shares.max(axis=1, keepdims=True) * SHARE_GRID)
        for step in range(steps):
            odds = np.maximum(grid[step], 1.0)
            score = odds / rng.standard_exponential((tokens, experts))
            if topk_group < n_group:
                score = _limited(score, n_group, topk_group)
            chosen = np.argsort(-score, axis=1, kind="stable")[:, :top_k]
            ids[step * tokens : (step + 1) * tokens, layer] = chosen
    return TokenRouting.from_arrays(
        ids, np.arange(steps + 1) * tokens, n_group=n_group, topk_group=topk_group
    )


def _limited(score: Floats, n_group: int, topk_group: int) -> Floats:
    """Scores ``[tokens, experts]`` with those outside the chosen groups at -1."""
    by_group = score.reshape(len(score), n_group, -1)
    best = np.sort(by_group, axis=2)[:, :, -2:].sum(axis=2)
    left_out = np.argsort(-best, axis=1, kind="stable")[:, topk_group:]
    kept = by_group.copy()
    kept[np.arange(len(score))[:, None], left_out] = -1.0
    return kept.reshape(score.shape)
