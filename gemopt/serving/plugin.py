"""Entry points: put our policies into vLLM and SGLang when ``GEMOPT_POLICY`` is set.

Engines call these functions in each of their processes, more than once. Installed but
not asked for, they change nothing and import nothing.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec

from gemopt.serving.config import GATE, enabled

log = logging.getLogger("gemopt.policies")

_SGLANG_TARGET = "sglang.srt.eplb.eplb_algorithms.rebalance_experts"


def register_vllm() -> None:
    """Make our policy vLLM's default one; and vllm-ascend's, where it is installed.

    Compiles everything, so that the first call is as quick as the others.

    Raises
    ------
    ValueError
        ``GEMOPT_POLICY`` is set and an option is wrong: the server does not start.
    """
    if not enabled():
        return
    from gemopt.serving.warmup import warm_up

    warm_up()
    from gemopt.engines.vllm import policy as ours

    if _there("vllm.distributed.eplb.policy"):
        policy = import_module("vllm.distributed.eplb.policy")
        policy.EPLB_POLICIES["default"] = ours.GemoptPolicy
    elif _there("vllm.distributed.eplb.rebalance_algo"):
        # Up to vLLM 0.10: a function, which eplb_state may have imported by name.
        algorithm = import_module("vllm.distributed.eplb.rebalance_algo")
        for module in (algorithm, sys.modules.get("vllm.distributed.eplb.eplb_state")):
            if module is not None:
                setattr(module, "rebalance_experts", ours.rebalance_experts)  # noqa: B010
    else:
        raise ValueError(f"{GATE} is set, but this vLLM has no expert balancing")
    log.info("gemopt: vLLM balances experts with gemopt's policy")
    if _there("vllm_ascend"):
        _register_ascend()


def _there(module: str) -> bool:
    """Tell whether a module can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False


def _register_ascend() -> None:
    from gemopt.engines.ascend.policy import GemoptAscendPolicy

    factory = import_module("vllm_ascend.eplb.core.policy.policy_factory")

    def generate_policy(policy_type: int, config: object = None) -> GemoptAscendPolicy:
        return GemoptAscendPolicy(config)

    factory.PolicyFactory.generate_policy = staticmethod(generate_policy)
    log.info("gemopt: vllm-ascend balances experts with gemopt's policy")


def register_sglang() -> None:
    """Put our policy around SGLang's `rebalance_experts`.

    Raises
    ------
    ValueError
        ``GEMOPT_POLICY`` is set and an option is wrong; SGLang logs it and goes on
        with its own algorithm.
    """
    if not enabled():
        return
    from gemopt.serving.warmup import warm_up

    warm_up()
    from gemopt.engines.sglang.policy import around

    hooks = import_module("sglang.srt.plugins.hook_registry")
    hooks.HookRegistry.register(_SGLANG_TARGET, around, hooks.HookType.AROUND)
    log.info("gemopt: SGLang balances experts with gemopt's policy")
