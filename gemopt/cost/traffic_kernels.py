"""All-to-all volumes of one layer: counted from token ids, or estimated.

Volumes are tokens per GPU and step in four directions, ``[4, gpus, steps]``:
sent and received within a host, sent and received between hosts.
"""

import numpy as np

from gemopt.jit import kernel

SENT_INTRA, RECEIVED_INTRA, SENT_INTER, RECEIVED_INTER = 0, 1, 2, 3


@kernel
def count_volumes(
    expert_ids: np.ndarray,  # [tokens, top_k] of one layer
    token2step: np.ndarray,  # [tokens]
    source: np.ndarray,  # [tokens] GPU
    copies: np.ndarray,  # [experts] replicas
    copy2gpu: np.ndarray,  # [experts, most replicas]
    node: np.ndarray,  # [gpus]
    relay: np.ndarray,  # [nodes, gpus] GPU of a host that takes a sender's tokens
    hierarchical: bool,
    volumes: np.ndarray,  # [4, gpus, steps], written
) -> None:
    """Count every token once per GPU (and per host) that it travels to.

    Token i uses copy ``i mod replicas`` of an expert: an even split that every rank
    can work out.
    """
    volumes[:] = 0.0
    gpus = node.shape[0]
    gpu_seen = np.full(gpus, -1, dtype=np.int64)
    node_seen = np.full(relay.shape[0], -1, dtype=np.int64)
    for i in range(expert_ids.shape[0]):
        t, origin = token2step[i], source[i]
        for k in range(expert_ids.shape[1]):
            e = expert_ids[i, k]
            gpu = copy2gpu[e, i % copies[e]]
            if gpu_seen[gpu] == i:
                continue
            gpu_seen[gpu] = i
            host = node[gpu]
            sender = origin
            if host != node[origin] and not hierarchical:
                volumes[SENT_INTER, origin, t] += 1.0
                volumes[RECEIVED_INTER, gpu, t] += 1.0
                continue
            if host != node[origin]:
                sender = relay[host, origin]
                if node_seen[host] != i:
                    node_seen[host] = i
                    volumes[SENT_INTER, origin, t] += 1.0
                    volumes[RECEIVED_INTER, sender, t] += 1.0
            if sender != gpu:
                volumes[SENT_INTRA, sender, t] += 1.0
                volumes[RECEIVED_INTRA, gpu, t] += 1.0


@kernel
def reach(p: float, pair: float, top_k: int) -> float:
    """Share of tokens with at least one of `top_k` picks in a group of experts.

    `p` is the mean number of picks in the group over `top_k`, `pair` the mean number
    of ordered pairs of picks in it. The number of picks is taken to follow the Polya
    urn with these two moments; exact for one pick and for independent ones.
    """
    if p <= 0.0:
        return 0.0
    if top_k < 2:
        return min(p, 1.0)
    ratio = pair / (top_k * (top_k - 1) * p)  # of a second pick, given the first
    contagion = (ratio - p) / max(1.0 - ratio, 1e-9)
    missed = 1.0
    for i in range(top_k):
        above, below = (1.0 - p) + i * contagion, 1.0 + i * contagion
        missed *= above / below if above > 0.0 and below > 0.0 else 0.0
    # Never more tokens than picks, never fewer than picks spread over full tokens.
    return min(max(1.0 - missed, p), min(1.0, p * top_k))


@kernel
def estimate_volumes(
    hits: np.ndarray,  # [gpus, steps] tokens that need each GPU
    node_hits: np.ndarray,  # [nodes, steps] tokens that need each host
    node: np.ndarray,  # [gpus]
    relayed: np.ndarray,  # [gpus] GPUs of other hosts whose tokens this one takes
    hierarchical: bool,
    volumes: np.ndarray,  # [4, gpus, steps], written
) -> None:
    """Volumes when the tokens of a step start evenly on all GPUs."""
    gpus, steps = hits.shape
    volumes[:] = 0.0
    each = 1.0 / gpus
    for g in range(gpus):
        host = node[g]
        for other in range(gpus):
            if other == g:
                continue
            same = node[other] == host
            if same and hierarchical:
                sent, got = (1.0 + relayed[g]) * each, (1.0 + relayed[other]) * each
            else:
                sent, got = each, each
            if not same and hierarchical:
                continue
            out, into = (SENT_INTRA, RECEIVED_INTRA) if same else (2, 3)
            for t in range(steps):
                volumes[out, g, t] += sent * hits[other, t]
                volumes[into, g, t] += got * hits[g, t]
        if hierarchical:
            for other in range(node_hits.shape[0]):
                if other != host:
                    for t in range(steps):
                        volumes[SENT_INTER, g, t] += each * node_hits[other, t]
            for t in range(steps):
                volumes[RECEIVED_INTER, g, t] = relayed[g] * each * node_hits[host, t]


@kernel
def volumes_us(
    volumes: np.ndarray,  # [4, gpus, steps] tokens
    intra_us: float,  # us of a token's round trip within a host
    inter_us: float,  # us of a token's round trip between hosts
    start_us: float,  # us of starting dispatch and combine
    hierarchical: bool,
    out: np.ndarray,  # [steps] us, written
) -> None:
    """Write the time of dispatch and combine at each step.

    The two links of a GPU work side by side; relaying waits for the far link.
    """
    _, gpus, steps = volumes.shape
    for t in range(steps):
        near = far = 0.0
        for g in range(gpus):
            near = max(near, max(volumes[0, g, t], volumes[1, g, t]))
            far = max(far, max(volumes[2, g, t], volumes[3, g, t]))
        near, far = near * intra_us, far * inter_us
        out[t] = start_us + (near + far if hierarchical else max(near, far))
