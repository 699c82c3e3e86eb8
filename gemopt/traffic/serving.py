"""Serving steps out of per-token routing: continuous batching of recorded requests."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gemopt.model.tokens import TokenRouting

Ints = NDArray[np.int64]

_CHUNK = 2**22  # expert ids counted at once


def serving_steps(
    expert_ids: ArrayLike,
    request_offsets: ArrayLike,
    batch: int,
    *,
    experts: int,
    requests: ArrayLike | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Ints:
    """Count the expert choices of each decode step of a continuously batched server.

    A step takes one token from each of `batch` running requests; a request that ends
    gives its place to the next one of a random order. So that the first steps are not
    all first tokens, the requests of the first step start at a random token.

    Parameters
    ----------
    expert_ids
        Experts of each token, whole numbers ``[tokens, layers, top_k]``.
    request_offsets
        Request i is tokens ``request_offsets[i]:request_offsets[i + 1]``, in decode
        order, whole numbers ``[requests + 1]``.
    batch
        Requests that run at the same time.
    experts
        Experts of a layer; every id is below.
    requests
        Which requests to serve, whole numbers; None means all. Disjoint sets (see
        `split_requests`) give seen and unseen steps that share no request.
    steps
        None: stop when fewer than `batch` requests are left, each served once at most.
        A number: that many steps, all requests in a new random order when they run out.
    seed
        Seed of the order and of the first tokens.

    Returns
    -------
    numpy.ndarray
        int64 ``[steps, layers, experts]``; every layer of a step sums to
        ``batch * top_k``.

    Raises
    ------
    ValueError
        With the name and value of the argument that does not fit; or no full step.
    """
    ids, rows = _served(
        expert_ids, request_offsets, batch, experts, requests, steps, seed
    )
    return _count(ids, rows, experts)


def serving_tokens(
    expert_ids: ArrayLike,
    request_offsets: ArrayLike,
    batch: int,
    *,
    experts: int,
    requests: ArrayLike | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> TokenRouting:
    """Return the tokens that `serving_steps` counts, step by step.

    Parameters and errors are those of `serving_steps`; with the same arguments,
    ``serving_tokens(...).counts(experts)`` equals its result.
    """
    ids, rows = _served(
        expert_ids, request_offsets, batch, experts, requests, steps, seed
    )
    return TokenRouting.from_arrays(ids[rows.ravel()], np.arange(len(rows) + 1) * batch)


def split_requests(
    requests: int, fraction: float = 0.5, seed: int = 0
) -> tuple[Ints, Ints]:
    """Split request numbers at random into two disjoint, sorted sets.

    Raises
    ------
    ValueError
        One of the two sets would be empty.
    """
    first = round(requests * fraction)
    if not 0 < first < requests:
        raise ValueError(
            f"fraction = {fraction} of {requests} requests leaves a set empty"
        )
    order = np.random.default_rng(seed).permutation(requests)
    return np.sort(order[:first]), np.sort(order[first:])


def _served(
    expert_ids: ArrayLike,
    request_offsets: ArrayLike,
    batch: int,
    experts: int,
    requests: ArrayLike | None,
    steps: int | None,
    seed: int,
) -> tuple[NDArray[np.integer], Ints]:
    """Checked expert ids, and the token of each place at each step."""
    ids, offsets = check_tokens(expert_ids, request_offsets, experts)
    chosen = _chosen(requests, len(offsets) - 1)
    for name, value in (("batch", batch), ("steps", 1 if steps is None else steps)):
        if value < 1:
            raise ValueError(f"{name} = {value} must be at least 1")
    rng = np.random.default_rng(seed)
    rows = _rows(rng, offsets, chosen, batch, steps)
    if not len(rows):
        raise ValueError(
            f"batch = {batch} never runs full with {len(chosen)} requests; use a "
            "smaller batch, or give the number of steps to serve requests repeatedly"
        )
    return ids, rows


def check_tokens(
    expert_ids: ArrayLike, request_offsets: ArrayLike, experts: int
) -> tuple[NDArray[np.integer], Ints]:
    """Return (ids, offsets) as arrays once they fit together.

    Raises
    ------
    ValueError
        With the name of the array and what is wrong.
    """
    ids, offsets = np.asarray(expert_ids), np.asarray(request_offsets)
    for name, array, ndim in (
        ("expert_ids", ids, 3),
        ("request_offsets", offsets, 1),
    ):
        if array.dtype.kind not in "iu":
            raise ValueError(f"{name} has type {array.dtype}, needs whole numbers")
        if array.ndim != ndim or not array.size:
            raise ValueError(f"{name} has shape {array.shape}, needs {ndim} dimensions")
    if ids.min() < 0 or ids.max() >= experts:
        bad = ids.min() if ids.min() < 0 else ids.max()
        raise ValueError(f"expert_ids has id {bad}, outside 0..{experts - 1}")
    limits = offsets.astype(np.int64)
    if limits[0] != 0 or limits[-1] != len(ids) or (np.diff(limits) < 0).any():
        raise ValueError(
            f"request_offsets must rise from 0 to the {len(ids)} tokens of expert_ids, "
            f"goes from {limits[0]} to {limits[-1]}"
        )
    return ids, limits


def _chosen(requests: ArrayLike | None, number: int) -> Ints:
    if requests is None:
        return np.arange(number, dtype=np.int64)
    chosen = np.asarray(requests)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise ValueError("requests must be a list of request numbers, not empty")
    if chosen.min() < 0 or chosen.max() >= number:
        bad = chosen.min() if chosen.min() < 0 else chosen.max()
        raise ValueError(f"requests has {bad}, outside 0..{number - 1}")
    return chosen.astype(np.int64)


def _queue(rng: np.random.Generator, chosen: Ints, repeat: bool) -> Iterator[int]:
    while True:
        yield from rng.permutation(chosen).tolist()
        if not repeat:
            return


def _rows(
    rng: np.random.Generator,
    offsets: Ints,
    chosen: Ints,
    batch: int,
    steps: int | None,
) -> Ints:
    """Token of each place at each step, int64 ``[steps, batch]``."""
    chosen = chosen[np.diff(offsets)[chosen] > 0]  # requests without tokens
    if not len(chosen):
        return np.empty((0, batch), dtype=np.int64)
    queue = _queue(rng, chosen, repeat=steps is not None)
    now = np.empty(batch, dtype=np.int64)
    end = np.empty(batch, dtype=np.int64)
    waiting = list(range(batch))  # places to fill
    rows: list[Ints] = []
    while steps is None or len(rows) < steps:
        for place in waiting:
            request = next(queue, None)
            if request is None:
                return np.array(rows, dtype=np.int64).reshape(-1, batch)
            now[place], end[place] = offsets[request], offsets[request + 1]
            if not rows:
                now[place] = rng.integers(now[place], end[place])
        rows.append(now.copy())
        now += 1
        waiting = np.flatnonzero(now == end).tolist()
    return np.array(rows, dtype=np.int64)


def _count(ids: NDArray[np.integer], rows: Ints, experts: int) -> Ints:
    steps, batch = rows.shape
    layers, top_k = ids.shape[1:]
    counts = np.empty((steps, layers, experts), dtype=np.int64)
    offset = np.arange(layers)[:, None] * experts
    chunk = max(1, _CHUNK // (batch * layers * top_k))
    for first in range(0, steps, chunk):
        part = ids[rows[first : first + chunk]] + offset  # [steps, batch, layers, k]
        cell = part.reshape(len(part), -1)
        cell += np.arange(len(part))[:, None] * layers * experts
        flat = np.bincount(cell.ravel(), minlength=len(part) * layers * experts)
        counts[first : first + chunk] = flat.reshape(len(part), layers, experts)
    return counts
