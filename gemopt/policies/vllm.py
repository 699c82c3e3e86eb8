"""Public face: vLLM's policy class, and its function up to 0.10."""

from gemopt.engines.vllm.policy import GemoptPolicy, rebalance_experts

__all__ = ["GemoptPolicy", "rebalance_experts"]
