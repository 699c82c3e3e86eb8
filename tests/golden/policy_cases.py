"""Every engine's policy on fixed loads, with and without a profile and a budget."""

import os
from collections.abc import Callable, Iterator
from unittest.mock import patch

import numpy as np
import torch

from gemopt.engines.ascend import policy as ascend
from gemopt.engines.deepseek import policy as deepseek
from gemopt.engines.sglang import policy as sglang
from gemopt.engines.vllm import policy as vllm
from gemopt.serving import guard
from tests.golden.cases import INSTANCES, digest

LAYERS, EXPERTS, SLOTS, RANKS, STEPS = 4, 32, 40, 8, 48
PROFILE = INSTANCES / "profiles" / "h100-gpt-oss-20b-e8.profile.json"
OPTIONS = {
    "plain": {},
    "bit-for-bit": {"GEMOPT_BIT_FOR_BIT": "1"},
    "profile": {"GEMOPT_PROFILE": str(PROFILE), "GEMOPT_WINDOW_STEPS": "16"},
    "budget": {
        "GEMOPT_PROFILE": str(PROFILE),
        "GEMOPT_WINDOW_STEPS": "16",
        "GEMOPT_MOVE_BUDGET": "12",
    },
    "default": {
        "GEMOPT_PROFILE": str(PROFILE),
        "GEMOPT_WINDOW_STEPS": "16",
        "GEMOPT_PRESET": "default",
    },
}


def _trace() -> torch.Tensor:
    rng = np.random.default_rng(7)
    mean = rng.gamma(0.7, 60.0, size=(LAYERS, EXPERTS))
    return torch.tensor(rng.poisson(mean, size=(STEPS, LAYERS, EXPERTS)))


def _old() -> torch.Tensor:
    return torch.arange(SLOTS).remainder(EXPERTS).repeat(LAYERS, 1)


def _deepseek() -> torch.Tensor:
    return deepseek.rebalance_experts(_trace().sum(0), SLOTS, 1, 1, RANKS)[0]


def _deepseek_hosts() -> torch.Tensor:
    return deepseek.rebalance_experts(_trace().sum(0), SLOTS, 4, 2, RANKS)[0]


def _vllm() -> torch.Tensor:
    return vllm.GemoptPolicy.rebalance_experts(
        _trace().sum(0), SLOTS, 1, 1, RANKS, _old()
    )


def _vllm_hosts() -> torch.Tensor:
    return vllm.GemoptPolicy.rebalance_experts(
        _trace().sum(0), SLOTS, 4, 2, RANKS, _old()
    )


def _sglang() -> torch.Tensor:
    return sglang.rebalance_experts(_trace(), SLOTS, SLOTS // RANKS, 1, 1, old=_old())[
        0
    ]


def _ascend() -> torch.Tensor:
    old = _old().reshape(LAYERS, RANKS, -1)
    share = _trace().sum(0).gather(1, _old()).reshape(old.shape)
    return ascend.GemoptAscendPolicy().rebalance_experts(old, share)[2]


CALLS = {
    "deepseek": _deepseek,
    "deepseek-hosts": _deepseek_hosts,
    "vllm": _vllm,
    "vllm-hosts": _vllm_hosts,
    "sglang": _sglang,
    "ascend": _ascend,
}


def policy_cases() -> Iterator[tuple[str, Callable[[], str]]]:
    """Every policy under every set of options: (label, function -> digest)."""
    for option, variables in OPTIONS.items():
        for name, call in CALLS.items():
            yield f"policy/{name}/{option}", lambda a=(call, variables): _placed(*a)


def _placed(call: Callable[[], torch.Tensor], variables: dict[str, str]) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GEMOPT_")}
    with (
        patch.dict(os.environ, {**kept, **variables}, clear=True),
        patch.object(guard, "report_once", _raised),  # a failure would fall back
    ):
        return digest(np.asarray(call()))


def _raised(error: Exception) -> None:
    raise error
