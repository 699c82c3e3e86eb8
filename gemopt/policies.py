"""Drop-in balancing policies by engine: ``deepseek``, ``vllm``, ``sglang``, ``ascend``.

``from gemopt.policies import vllm`` is the module `gemopt.engines.vllm.policy`.
"""

from importlib import import_module
from types import ModuleType

_ENGINES = ("ascend", "deepseek", "sglang", "vllm")


def __getattr__(name: str) -> ModuleType:
    if name not in _ENGINES:
        raise AttributeError(f"module 'gemopt.policies' has no attribute {name!r}")
    return import_module(f"gemopt.engines.{name}.policy")
