"""Model families: how their tensors are named. A new family is one more row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

_LAYER = r"(?:(?:language_model|text_model|model)\.)*layers\.(?P<layer>\d+)\."


class Part(NamedTuple):
    """What a tensor of an MoE layer is.

    `kind` is ``expert`` (owned by `expert`), ``packed`` (one entry of the first axis
    per expert), ``router`` (one row per expert), ``shared`` (used by every token) or
    ``other``. `role` is the name without layer and expert; `head` is what precedes it.
    """

    layer: int
    kind: str
    role: str
    head: str
    expert: int = -1


@dataclass(frozen=True)
class Family:
    """Names of the parts of an MoE layer in the checkpoints of one model family.

    Attributes
    ----------
    name
        For people.
    model_types
        Values of `model_type` in config.json (of the text model).
    modules
        Names that the MoE module of a layer goes by.
    router
        Tensors with one row per expert, below that module; the first must be there.
    shared
        Submodules that belong to no expert.
    """

    name: str
    model_types: tuple[str, ...]
    modules: tuple[str, ...]
    router: tuple[str, ...]
    shared: tuple[str, ...] = ()

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        modules = "|".join(map(re.escape, self.modules))
        return re.compile(rf"(?P<head>{_LAYER}(?:{modules})\.)(?P<tail>.+)")

    def part(self, name: str) -> Part | None:
        """Say what the tensor `name` is; None outside MoE modules."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        layer, head, tail = int(match["layer"]), match["head"], match["tail"]
        first, _, rest = tail.partition(".")
        if first == "experts" and rest:
            number, _, role = rest.partition(".")
            if number.isdecimal() and role:
                return Part(layer, "expert", role, f"{head}experts.", int(number))
            return Part(layer, "packed", tail, head)
        if tail in self.router:
            return Part(layer, "router", tail, head)
        return Part(layer, "shared" if first in self.shared else "other", tail, head)


_SCORED = ("gate.weight", "gate.e_score_correction_bias")
_GATED_SHARED = ("shared_expert", "shared_expert_gate")
FAMILIES = (
    Family("Mixtral", ("mixtral",), ("block_sparse_moe", "mlp"), ("gate.weight",)),
    Family("Qwen3-MoE", ("qwen3_moe",), ("mlp",), ("gate.weight",)),
    Family("OLMoE", ("olmoe",), ("mlp",), ("gate.weight",)),
    Family("Qwen2-MoE", ("qwen2_moe",), ("mlp",), ("gate.weight",), _GATED_SHARED),
    Family("Qwen3-Next", ("qwen3_next",), ("mlp",), ("gate.weight",), _GATED_SHARED),
    Family(
        "DeepSeek-V2",
        ("deepseek_v2",),
        ("mlp",),
        ("gate.weight",),
        ("shared_experts",),
    ),
    Family(
        "DeepSeek-V3",
        ("deepseek_v3", "kimi_k2"),
        ("mlp",),
        _SCORED,
        ("shared_experts",),
    ),
    Family("DeepSeek-V3.2", ("deepseek_v32",), ("mlp",), _SCORED, ("shared_experts",)),
    Family(
        "GLM-4-MoE",
        ("glm4_moe", "glm4_moe_lite"),
        ("mlp",),
        _SCORED,
        ("shared_experts",),
    ),
    Family(
        "Ernie-4.5",
        ("ernie4_5_moe",),
        ("mlp",),
        (
            "gate.weight",
            "gate.moe_statics.e_score_correction_bias",
            "moe_statics.e_score_correction_bias",
        ),
        ("shared_experts",),
    ),
    Family(
        "Hunyuan",
        ("hunyuan_v1_moe", "hunyuan"),
        ("mlp",),
        ("gate.wg.weight",),
        ("shared_mlp",),
    ),
    Family(
        "Llama-4",
        ("llama4_text",),
        ("feed_forward",),
        ("router.weight",),
        ("shared_expert",),
    ),
    Family("gpt-oss", ("gpt_oss",), ("mlp",), ("router.weight", "router.bias")),
)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of config.json that describes the language model."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def family_of(config: Mapping[str, Any]) -> Family:
    """Find the family of a model by its configuration.

    Raises
    ------
    ValueError
        `model_type` is missing or unknown; the message lists the known ones.
    """
    model_type = text_config(config).get("model_type")
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    known = ", ".join(t for family in FAMILIES for t in family.model_types)
    raise ValueError(f"model_type = {model_type!r} is unknown; known: {known}")


def expert_groups(config: Mapping[str, Any]) -> int:
    """Groups of experts that the router chooses among; 1 means no group limit."""
    text = text_config(config)
    if text.get("topk_method") == "greedy":  # DeepSeek-V2 then ignores its groups
        return 1
    groups, chosen = text.get("n_group") or 1, text.get("topk_group")
    return 1 if chosen is not None and chosen >= groups else int(groups)
