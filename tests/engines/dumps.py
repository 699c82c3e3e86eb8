"""Files as the engines write them, and counts to put in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors.numpy import save_file

from gemopt.model.placement import Placement

torch: Any = pytest.importorskip("torch")


def stat(path: Path, buffer: np.ndarray, rank: Any = 0) -> Path:
    """One SGLang dump of mode ``stat``."""
    data = {
        "rank": rank,
        "logical_count": torch.from_numpy(buffer.astype(np.int32)),
        "average_utilization_rate_over_window": None,
    }
    torch.save(data, path)
    return path


def passes(
    path: Path, first: int, rank: int, counts: np.ndarray, slots: np.ndarray
) -> Path:
    """One SGLang dump of mode ``per_pass``: `counts` ``[passes, layers, slots]``."""
    records = [
        {
            "forward_pass_id": first + i,
            "rank": rank,
            "gatherer_key": "primary",
            "global_physical_count": torch.from_numpy(each.astype(np.int32)),
        }
        for i, each in enumerate(counts)
    ]
    data = {"records": records, "last_physical_to_logical_map": torch.from_numpy(slots)}
    torch.save(data, path)
    return path


def statistics(
    folder: Path, counts: np.ndarray, layers: list[int], first: int = 100
) -> Path:
    """TensorRT-LLM statistics: `counts` ``[ranks, iterations, layers, experts]``."""
    folder.mkdir(exist_ok=True)
    meta = {"num_experts": counts.shape[3], "num_experts_per_token": 2}
    (folder / "meta_info.json").write_text(json.dumps(meta))
    for rank, own in enumerate(counts):
        tensors = {
            f"{first + t}_{layer}": own[t, i].astype(np.int64)
            for t in range(len(own))
            for i, layer in enumerate(layers)
        }
        save_file(tensors, folder / f"rank{rank}.safetensors")
    return folder


def spread(logical: np.ndarray, slots: np.ndarray, seed: int = 0) -> np.ndarray:
    """Deal the counts of experts to their slots at random, slow and plain."""
    rng = np.random.default_rng(seed)
    steps, layers, _ = logical.shape
    physical = np.zeros((steps, layers, slots.shape[1]), dtype=np.int64)
    for step in range(steps):
        for layer in range(layers):
            for expert, count in enumerate(logical[step, layer]):
                own = np.flatnonzero(slots[layer] == expert)
                share = rng.multinomial(count, np.full(len(own), 1 / len(own)))
                physical[step, layer, own] = share
    return physical


def counts(steps: int, layers: int, experts: int, seed: int = 0) -> np.ndarray:
    """Busy counts: no step and no layer is empty."""
    rng = np.random.default_rng(seed)
    return rng.poisson(4, (steps, layers, experts)) + (np.arange(experts) == 0)


@st.composite
def maps(draw: st.DrawFn, distinct: bool = True) -> tuple[Placement, list[int]]:
    """A placement of equal slots, no expert twice on a GPU, and its layer ids."""
    gpus = draw(st.integers(1, 4))
    per_gpu = draw(st.integers(1, 4))
    experts = draw(st.integers(per_gpu, gpus * per_gpu))
    layers = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = []
    for _ in range(layers):
        # Dealing whole rounds of all experts keeps copies more than a GPU apart.
        order = rng.permutation(experts)
        dealt = np.resize(order, gpus * per_gpu)
        grid = dealt.reshape(gpus, per_gpu)[rng.permutation(gpus)]
        rows.append(grid.ravel())
    ids = sorted(rng.choice(np.arange(20), layers, replace=False).tolist())
    return Placement(np.array(rows), np.full(gpus, per_gpu)), ids
