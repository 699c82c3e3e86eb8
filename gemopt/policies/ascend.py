"""Public face: vllm-ascend's policy."""

from gemopt.engines.ascend.policy import GemoptAscendPolicy

__all__ = ["GemoptAscendPolicy"]
