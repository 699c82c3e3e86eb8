"""Public face: SGLang's function."""

from gemopt.engines.sglang.policy import rebalance_experts

__all__ = ["rebalance_experts"]
