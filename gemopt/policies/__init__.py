"""Drop-in balancing policies by engine: ``deepseek``, ``vllm``, ``sglang``, ``ascend``.

Beside them ``config``, their options, and ``guard``, what happens when one fails.
"""

from importlib import import_module
from types import ModuleType

_MODULES = ("ascend", "config", "deepseek", "guard", "sglang", "vllm")


def __getattr__(name: str) -> ModuleType:
    if name not in _MODULES:
        raise AttributeError(f"module 'gemopt.policies' has no attribute {name!r}")
    return import_module(f"gemopt.policies.{name}")
