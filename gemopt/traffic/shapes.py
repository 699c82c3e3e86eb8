"""Public shapes of Mixture-of-Experts models, from their published configurations."""

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What placement needs to know about a model.

    Attributes
    ----------
    name
        Name of the model.
    experts, top_k
        Routed experts of a layer, and how many of them a token takes. Shared experts
        run on every GPU and are not placed.
    layers
        Number of MoE layers.
    hidden, intermediate
        Width of the residual stream and of one routed expert.
    first_layer
        Index of the first MoE layer in the model; earlier ones are dense.
    n_group, topk_group
        Group-limited routing, see `gemopt.model.expert_groups`; 1 and 1 without.
    """

    name: str
    experts: int
    top_k: int
    layers: int
    hidden: int
    intermediate: int
    first_layer: int = 0
    n_group: int = 1
    topk_group: int = 1

    @property
    def layer_ids(self) -> range:
        """Index of each MoE layer in the model."""
        return range(self.first_layer, self.first_layer + self.layers)


#: The five models of the GEM paper, then two more that engines are often run with.
SHAPES = {
    each.name: each
    for each in (
        Shape("Mixtral-8x7B", 8, 2, 32, 4096, 14336),
        Shape("Mixtral-8x22B", 8, 2, 56, 6144, 16384),
        Shape("Llama-4-Scout", 16, 1, 48, 5120, 8192),
        Shape("Hunyuan-A13B", 64, 8, 32, 4096, 3072),
        Shape("Qwen3-30B-A3B", 128, 8, 48, 2048, 768),
        Shape("DeepSeek-V3", 256, 8, 58, 7168, 2048, 3, n_group=8, topk_group=4),
        Shape("gpt-oss-20b", 32, 4, 24, 2880, 2880),
    )
}


def shape(name: str) -> Shape:
    """Look a model's shape up, ignoring case.

    Raises
    ------
    ValueError
        No such model; the message names the nearest one.
    """
    known = {key.lower(): value for key, value in SHAPES.items()}
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {known[near[0]].name!r}? " if near else ""
        raise ValueError(f"model {name!r} is unknown; {hint}known: {', '.join(SHAPES)}")
    return known[name.lower()]
