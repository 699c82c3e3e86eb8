"""Entry points: put our policies into vLLM and SGLang when ``GEMOPT_POLICY`` is set.

Engines call these functions in each of their processes, more than once. Installed but
not asked for, they change nothing and import nothing.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec

from gemopt.policies.config import enabled

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
    from gemopt.policies.warmup import warm_up

    warm_up()
    from gemopt.policies import vllm as ours

    if find_spec("vllm.distributed.eplb.policy") is not None:
        policy = import_module("vllm.distributed.eplb.policy")
        policy.EPLB_POLICIES["default"] = ours.GemoptPolicy
    else:  # vLLM up to 0.10: a function that eplb_state has imported by name
        algorithm = import_module("vllm.distributed.eplb.rebalance_algo")
        algorithm.rebalance_experts = ours.rebalance_experts  # type: ignore[attr-defined]
        state = sys.modules.get("vllm.distributed.eplb.eplb_state")
        if state is not None:
            state.rebalance_experts = ours.rebalance_experts  # type: ignore[attr-defined]
    log.info("gemopt: vLLM balances experts with gemopt's policy")
    if find_spec("vllm_ascend") is not None:
        _register_ascend()


def _register_ascend() -> None:
    from gemopt.policies.ascend import GemoptAscendPolicy

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
    from gemopt.policies.warmup import warm_up

    warm_up()
    from gemopt.policies.sglang import around

    if find_spec("sglang.srt.plugins") is not None:
        hooks = import_module("sglang.srt.plugins.hook_registry")
        hooks.HookRegistry.register(_SGLANG_TARGET, around, hooks.HookType.AROUND)
    else:  # before SGLang had plugins; called by whoever imports gemopt
        _wrap_sglang()
    log.info("gemopt: SGLang balances experts with gemopt's policy")


def _wrap_sglang() -> None:
    from functools import partial

    from gemopt.policies.sglang import around

    package = import_module("sglang.srt.eplb.eplb_algorithms")
    original = package.rebalance_experts
    if getattr(original, "func", None) is not around:
        package.rebalance_experts = partial(around, original)  # type: ignore[attr-defined]
