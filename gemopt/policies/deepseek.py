"""Public face: DeepSeek EPLB's function."""

from gemopt.engines.deepseek.policy import rebalance_experts

__all__ = ["rebalance_experts"]
