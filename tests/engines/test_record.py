"""`gemopt.record` on small random models, against routing recomputed from logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gemopt
from gemopt.engines import open_trace
from tests.checkpoint.models import CONFIGS, EXPERTS, build

torch: Any = pytest.importorskip("torch")

# transformers scripts nothing of ours; its generation warns about unset samplers.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers")


#: Sigmoid scores with a correction, best groups first (DeepSeek-V3's rule).
GROUPED = {"DeepSeek-V3", "DeepSeek-V3.2", "GLM-4-MoE"}


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """Largest `k` of each row, as sorted indices."""
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)


def chosen(family: str, router: Any, hidden: np.ndarray) -> np.ndarray:
    """Experts of each token from the published routing rule, in float64 numpy."""
    linear = router.wg if family == "Hunyuan" else router
    logits = hidden @ linear.weight.detach().double().numpy().T
    if family == "gpt-oss":
        logits = logits + router.bias.detach().double().numpy()
    if family == "Ernie-4.5":
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        bias = router.moe_statics.e_score_correction_bias.detach().double().numpy()
        return top(odds / odds.sum(axis=1, keepdims=True) + bias.ravel(), router.top_k)
    if family not in GROUPED:
        return top(logits, router.top_k)
    scores = 1 / (1 + np.exp(-logits))
    scores = scores + router.e_score_correction_bias.double().numpy()
    groups = scores.reshape(len(scores), router.num_group, -1)
    group_scores = np.sort(groups, axis=2)[:, :, -2:].sum(axis=2)
    best = top(group_scores, router.topk_group)
    allowed = np.zeros(group_scores.shape, dtype=bool)
    np.put_along_axis(allowed, best, True, axis=1)
    masked = np.where(allowed[:, :, None], groups, -np.inf)
    return top(masked.reshape(scores.shape), router.top_k)


class Twin:
    """Independent hooks: they keep what goes into each router, nothing else."""

    def __init__(self, family: str, model: Any, layers: list[int]) -> None:
        self.family, self.seen, self.handles = family, [], []
        self.routers = []
        for layer in layers:
            block = model.model.layers[layer]
            block = getattr(block, "mlp", None) or block.feed_forward
            router = block.router if hasattr(block, "router") else block.gate
            self.routers.append(router)
            self.handles.append(router.register_forward_pre_hook(self.keep))

    def keep(self, module: Any, arguments: Any) -> None:
        hidden = arguments[0].detach().double()
        self.seen.append(hidden.reshape(-1, hidden.shape[-1]).numpy())

    def steps(self) -> list[list[np.ndarray]]:
        """Experts ``[tokens, top_k]`` of each forward pass and layer."""
        for handle in self.handles:
            handle.remove()
        width = len(self.routers)
        parts = [self.seen[i : i + width] for i in range(0, len(self.seen), width)]
        return [
            [
                chosen(self.family, router, hidden)
                for router, hidden in zip(self.routers, part, strict=True)
            ]
            for part in parts
        ]


def run(model: Any, prompts: list[list[int]], new: int) -> None:
    """Generate from prompts padded on the left with token 0."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    model.generate(
        input_ids=ids,
        attention_mask=(ids != 0).long(),
        max_new_tokens=new,
        min_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
    )


@pytest.mark.parametrize("family", CONFIGS)
def test_counts_equal_the_routing_rule(family: str, tmp_path: Path) -> None:
    """Every step, layer and expert count equals routing recomputed from logits."""
    model = build(family)
    layers = CONFIGS[family][2]
    prompts = [[5, 9, 33, 7], [12, 4]]
    with gemopt.record(model, token_ids=True) as recorder:
        twin = Twin(family, model, layers)
        run(model, prompts, 4)
        steps = twin.steps()
        run(model, [[8, 3, 21]], 2)
    trace = recorder.trace()
    assert trace.layer_ids.tolist() == layers
    assert trace.counts.shape == (4 + 2, len(layers), EXPERTS)
    padding = np.array([False] * 4 + [True] * 2 + [False] * 2)
    for t, step in enumerate(steps):
        for i, ids in enumerate(step):
            real = ids[~padding] if t == 0 else ids
            expected = np.bincount(real.ravel(), minlength=EXPERTS)
            assert trace.counts[t, i].tolist() == expected.tolist()

    ids, offsets = recorder.token_ids()
    assert np.diff(offsets).tolist() == [4 + 3, 2 + 3, 3 + 1]
    first = [step[0][0] for step in steps[1:]]  # first layer, first request
    assert np.sort(ids[4:7, 0], axis=1).tolist() == np.array(first).tolist()
    total = np.bincount(ids[:, -1].ravel(), minlength=EXPERTS)
    assert total.tolist() == trace.counts[:, -1].sum(axis=0).tolist()

    recorder.save(tmp_path / "a.trace.safetensors")
    saved = gemopt.load_trace(tmp_path / "a.trace.safetensors")
    assert np.array_equal(saved.counts, trace.counts)
    recorder.save_token_ids(tmp_path / "ids.safetensors")
    served = open_trace("tokens", tmp_path / "ids.safetensors", batch=2).collect()
    assert served.layer_ids.tolist() == layers


def test_hooks_go_when_the_block_ends() -> None:
    """Nothing is recorded after the block, also when it ends with an error."""
    model = build("Mixtral")
    recorder = gemopt.record(model)
    with pytest.raises(RuntimeError, match="stop"), recorder:
        model(input_ids=torch.tensor([[1, 5, 7]]))
        raise RuntimeError("stop")
    model(input_ids=torch.tensor([[1, 5, 7]]))
    assert len(recorder.trace().counts) == 1
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert sum(hooks) == 0


def test_a_plain_linear_gate_is_understood() -> None:
    """Older models have a linear gate and a list of experts: the logits decide."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = torch.nn.Linear(4, 3, bias=False)
            self.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))
            self.top_k = 2

        def forward(self, x: Any) -> Any:
            chosen = self.gate(x).topk(self.top_k).indices
            return sum(self.experts[int(e)](x) for e in chosen.unique()) * chosen.sum()

    model = torch.nn.Sequential(Block())
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    with gemopt.record(model) as recorder:
        model(x)
    logits = (x @ model[0].gate.weight.T).detach().numpy()
    expected = np.bincount(top(logits, 2).ravel(), minlength=3)
    assert recorder.trace().counts[0, 0].tolist() == expected.tolist()


def test_passes_without_a_mask() -> None:
    """Without a mask the cache tells where a request goes on."""
    model = build("OLMoE")
    with gemopt.record(model, token_ids=True) as recorder, torch.no_grad():
        out = model(input_ids=torch.tensor([[1, 5, 7]]), use_cache=True)
        cache = {k: v for k, v in out.items() if hasattr(v, "get_seq_length")}
        model(input_ids=torch.tensor([[9]]), **cache)
        model(input_ids=torch.tensor([[4, 4]]))
    assert np.diff(recorder.token_ids()[1]).tolist() == [4, 2]


def test_refusals() -> None:
    """A dense model, an empty recording and ids not kept are refused with a reason."""
    with pytest.raises(ValueError, match="has no MoE block"):
        gemopt.record(torch.nn.Linear(2, 2))
    model = build("OLMoE")
    recorder = gemopt.record(model)
    with pytest.raises(ValueError, match="nothing was recorded"):
        recorder.trace()
    with pytest.raises(ValueError, match="token_ids=True"):
        recorder.token_ids()
