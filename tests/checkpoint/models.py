"""Small random models of every family, saved as sharded checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemopt.model.placement import Placement

EXPERTS = 8
_COMMON = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MLP = {"intermediate_size": 16, "moe_intermediate_size": 16}
#: Multi-head latent attention, and what DeepSeek's layers share.
_LATENT = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}
#: name -> (configuration class, its own options, hidden layers with experts)
CONFIGS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "Mixtral": (
        "MixtralConfig",
        {"intermediate_size": 16, "num_local_experts": 8, "num_experts_per_tok": 2},
        [0, 1, 2],
    ),
    "Qwen3-MoE": (
        "Qwen3MoeConfig",
        {**_MLP, "num_experts": 8, "num_experts_per_tok": 4, "head_dim": 16}
        | {"mlp_only_layers": [1]},
        [0, 2],
    ),
    "OLMoE": (
        "OlmoeConfig",
        {"intermediate_size": 16, "num_experts": 8, "num_experts_per_tok": 4},
        [0, 1, 2],
    ),
    "Qwen2-MoE": (
        "Qwen2MoeConfig",
        {**_MLP, "num_experts": 8, "num_experts_per_tok": 2}
        | {"shared_expert_intermediate_size": 16},
        [0, 1, 2],
    ),
    "Qwen3-Next": (
        "Qwen3NextConfig",
        {**_MLP, "num_experts": 8, "num_experts_per_tok": 2, "head_dim": 16}
        | {"shared_expert_intermediate_size": 16, "linear_num_key_heads": 2}
        | {"linear_num_value_heads": 4, "linear_key_head_dim": 16}
        | {"linear_value_head_dim": 16, "full_attention_interval": 3},
        [0, 1, 2],
    ),
    "DeepSeek-V2": (
        "DeepseekV2Config",
        {**_MLP, **_LATENT, "q_lora_rank": None, "topk_method": "greedy"}
        | {"n_group": 4, "topk_group": 2},  # which a greedy router ignores
        [1, 2],
    ),
    "DeepSeek-V3": (
        "DeepseekV3Config",
        {**_MLP, **_LATENT, "n_group": 4, "topk_group": 2},
        [1, 2],
    ),
    "DeepSeek-V3.2": (
        "DeepseekV32Config",
        {**_MLP, **_LATENT, "n_group": 4, "topk_group": 2}
        | {"index_n_heads": 2, "index_head_dim": 16, "index_topk": 32},
        [1, 2],
    ),
    "GLM-4-MoE": (
        "Glm4MoeConfig",
        {**_MLP, "n_routed_experts": 8, "num_experts_per_tok": 2, "head_dim": 16}
        | {"n_shared_experts": 1, "first_k_dense_replace": 1},
        [1, 2],
    ),
    "Ernie-4.5": (
        "Ernie4_5_MoeConfig",
        {**_MLP, "moe_num_experts": 8, "moe_k": 2, "moe_num_shared_experts": 1}
        | {"moe_layer_start_index": 1, "head_dim": 16},
        [1, 2],
    ),
    "Hunyuan": (
        "HunYuanMoEV1Config",
        {"intermediate_size": 16, "num_experts": 8, "moe_topk": 2, "head_dim": 16},
        [0, 1, 2],
    ),
    "Llama-4": (
        "Llama4TextConfig",
        {"intermediate_size": 16, "intermediate_size_mlp": 16, "head_dim": 16}
        | {"num_local_experts": 8, "num_experts_per_tok": 1}
        | {"interleave_moe_layer_step": 2},
        [1],
    ),
    "gpt-oss": (
        "GptOssConfig",
        {"intermediate_size": 16, "num_local_experts": 8, "num_experts_per_tok": 2}
        | {"head_dim": 16, "layer_types": ["full_attention"] * 3},
        [0, 1, 2],
    ),
}
#: One or two experts add up to the same bits in any order, and these routers do not
#: sum over all experts as the softmax of the other families does.
BITWISE = {"DeepSeek-V3", "Llama-4", "gpt-oss"}


def build(family: str, **changes: Any) -> Any:
    """Make a model with random weights, router biases and score corrections too."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    name, options, _ = CONFIGS[family]
    config = getattr(transformers, name)(**{**_COMMON, **options, **changes})
    generator = torch.Generator().manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        for key, tensor in named.items():
            if tensor.is_floating_point() and "rotary" not in key:
                noise = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(1.0 + 0.1 * noise if "norm" in key else 0.3 * noise)
    return model


def save(model: Any, folder: Path, max_shard_size: str = "20KB") -> Path:
    """Save `model` as a checkpoint of several shards."""
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def logits(model: Any) -> Any:
    """Logits of fixed random tokens."""
    import torch

    ids = torch.randint(64, (2, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits


def renumbering(layers: int, seed: int = 0, groups: int = 1) -> Placement:
    """Draw one permutation of the experts for each layer, on two GPUs.

    With `groups`, groups of consecutive experts stay together.
    """
    rng = np.random.default_rng(seed)
    size = EXPERTS // groups
    rows = []
    for _ in range(layers):
        order = rng.permutation(groups)
        rows.append(np.concatenate([g * size + rng.permutation(size) for g in order]))
    return Placement(np.array(rows), np.array([EXPERTS // 2, EXPERTS // 2]))


def groups_of(family: str) -> int:
    """Groups of experts of the small model of `family`."""
    return 4 if family in ("DeepSeek-V3", "DeepSeek-V3.2") else 1
