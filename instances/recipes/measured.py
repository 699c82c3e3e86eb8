"""GPUs of different speed: one H100 measured with fewer and fewer SMs."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from gemopt.latency import TileActive, TokenCurve

FOLDER = Path(__file__).parents[1] / "measured"
SMS = {4: (132, 120, 104, 88), 8: (132, 128, 120, 112, 104, 96, 88, 80)}
#: Measured layer that has as many experts on a GPU: 64 experts on 4 or on 8 GPUs.
LAYER = {4: "qwen3_e16", 8: "dsv3_e8"}
#: Tokens per expert up to which the kernel takes each BLOCK_M.
BLOCKS = {16: 24.0, 64: 96.0, 128: np.inf}


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((FOLDER / "h100_sm_limited.json").read_text())
    return data


def _points(layer: str, sms: int) -> tuple[np.ndarray, np.ndarray]:
    us = np.array(_data()["curves_us"][f"{layer}/tri_auto/{sms}"])
    return np.array(_data()["tokens"][: len(us)]), us


def token_curve(layer: str, sms: int) -> TokenCurve:
    """Join the measured points; the grid is too coarse to be read as a staircase."""
    tokens, us = _points(layer, sms)
    return TokenCurve(zip(tokens, us, strict=True), interpolation="linear")


def block_of(tokens: float, experts: int) -> int:
    """BLOCK_M that the kernel takes for `tokens` on `experts` experts."""
    return next(b for b, limit in BLOCKS.items() if tokens / experts <= limit)


def tile_active(layer: str, sms: int, block: int) -> tuple[TileActive, float]:
    """Fit the points of one BLOCK_M by non-negative least squares of relative errors.

    In the ranges of the larger blocks all experts are active, so the constant part and
    the one per expert cannot be told apart there: the constant of BLOCK_M 16 is kept.

    Returns
    -------
    tuple
        The model, and its mean absolute relative error on these points.
    """
    experts = int(_data()["shapes"][layer][2])
    tokens, us = _points(layer, sms)
    used = np.array([block_of(t, experts) == block for t in tokens])
    tokens, us = tokens[used], us[used]
    split = np.array([_even(int(t), experts) for t in tokens])
    active, tiles = (split > 0).sum(axis=1), np.ceil(split / block).sum(axis=1)
    features = np.column_stack([np.ones(len(us)), active, tiles, tokens])
    if block == min(BLOCKS):
        coefficients, _ = nnls(features / us[:, None], np.ones(len(us)))
    else:
        base = tile_active(layer, sms, min(BLOCKS))[0].base_us
        rest, _ = nnls(features[:, 1:] / us[:, None], (us - base) / us)
        coefficients = np.concatenate([[base], rest])
    # Rounded, so that the last bits of a solver's arithmetic do not reach the files.
    model = TileActive(*(round(float(c), 4) for c in coefficients), tile=block)
    return model, float(np.abs(model.us(split) / us - 1).mean())


def _even(tokens: int, experts: int) -> np.ndarray:
    """Split tokens evenly over experts, the first ones getting the rest."""
    return tokens // experts + (np.arange(experts) < tokens % experts)


def routing() -> np.ndarray:
    """Routing of the small language model, int64 ``[steps, layers, experts]``.

    The first 16 positions of each text see too little context and are left out.
    """
    with np.load(FOLDER / "moe_lm_trace.npz", allow_pickle=False) as data:
        return np.asarray(data["counts"], dtype=np.int64).transpose(1, 0, 2)[16:]
