"""Logits of every model family before and after their experts are renumbered."""

import json
import re

import pytest

import gemopt
from gemopt.checkpoint import apply_checkpoint, compare_logits
from gemopt.checkpoint.families import FAMILIES
from tests.checkpoint.models import (
    BITWISE,
    CONFIGS,
    build,
    groups_of,
    logits,
    renumbering,
    save,
)


def test_every_family_is_tested():
    """The families that gemopt knows are those whose logits are compared here."""
    assert [family.name for family in FAMILIES] == list(CONFIGS)


@pytest.mark.parametrize("family", CONFIGS)
def test_model_in_memory_keeps_its_logits(family):
    """`gemopt.apply_to` leaves the logits alone, to the last bit where sums allow."""
    model = build(family)
    before = logits(model)
    weights = {name: p.clone() for name, p in model.named_parameters()}
    placement = renumbering(len(CONFIGS[family][2]), groups=groups_of(family))
    gemopt.apply_to(model, placement)
    changed = [n for n, p in model.named_parameters() if not p.equal(weights[n])]
    assert any("experts" in name for name in changed)
    router = next(f.router[0] for f in FAMILIES if f.name == family)
    assert any(name.endswith(router) for name in changed)
    _require_close(family, before, logits(model))


@pytest.mark.parametrize("family", CONFIGS)
def test_checkpoint_keeps_its_logits(family, tmp_path):
    """`apply_checkpoint` writes a checkpoint that transformers loads to the same."""
    model = build(family)
    source = save(model, tmp_path / "source")
    layers = CONFIGS[family][2]
    placement = renumbering(len(layers), seed=3, groups=groups_of(family))
    done = apply_checkpoint(source, placement, tmp_path / "out", layer_ids=layers)
    assert done.family == family and done.layer_ids == tuple(layers)
    assert done.shards > 1 and done.moved > 0
    check = compare_logits(source, tmp_path / "out")
    assert check.same and check.largest_logit > 0.1
    if family in BITWISE:
        assert check.largest_difference == 0.0


@pytest.mark.parametrize("family", CONFIGS)
def test_file_and_memory_agree(family, tmp_path):
    """A model loaded from the mapped files equals the model mapped in memory."""
    transformers = pytest.importorskip("transformers")
    model = build(family)
    source = save(model, tmp_path / "source")
    placement = renumbering(len(CONFIGS[family][2]), seed=5, groups=groups_of(family))
    apply_checkpoint(source, placement, tmp_path / "out")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    gemopt.apply_to(model, placement)
    expected = dict(model.state_dict())
    for name, tensor in loaded.state_dict().items():
        assert tensor.equal(expected[name]), name


def test_forgotten_router_shows_in_the_logits(tmp_path):
    """The comparison fails when experts move but the router does not."""
    source = save(build("Qwen3-MoE"), tmp_path / "source")
    out = tmp_path / "out"
    apply_checkpoint(source, renumbering(2), out)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    shards = {f for n, f in index["weight_map"].items() if n.endswith("gate.weight")}
    for shard in shards:
        (out / shard).write_bytes((source / shard).read_bytes())
    check = compare_logits(source, out)
    assert not check.same


def test_experts_that_leave_their_group_are_refused(tmp_path):
    """Group-limited routing refuses a permutation that mixes groups, and says why."""
    model = build("DeepSeek-V3")
    source = save(model, tmp_path / "source")
    mixed = renumbering(2)
    message = "layer 1: the router first chooses among 4 groups .*would leave group"
    with pytest.raises(ValueError, match=message):
        apply_checkpoint(source, mixed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match="gemopt export"):
        gemopt.apply_to(model, mixed)
    assert all(p.equal(before[n]) for n, p in model.named_parameters())


def test_groups_without_limit_may_mix(tmp_path):
    """If the router chooses all groups, experts may leave theirs."""
    model = build("DeepSeek-V3", topk_group=4)
    before = logits(model)
    gemopt.apply_to(model, renumbering(2))
    _require_close("DeepSeek-V3", before, logits(model))


def test_llama4_inside_a_multimodal_model():
    """Names with a language model prefix and a nested text_config are understood."""
    config = {"model_type": "llama4", "text_config": {"model_type": "llama4_text"}}
    family = gemopt.checkpoint.families.family_of(config)
    part = family.part(
        "language_model.model.layers.7.feed_forward.experts.gate_up_proj"
    )
    assert part is not None and (part.layer, part.kind) == (7, "packed")
    vision = "vision_model.model.layers.7.mlp.fc1.weight"
    assert family.part(vision) is None


def test_model_without_config_is_refused():
    """A module that is no transformers model gives one clear line."""
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="Linear has no transformers config"):
        gemopt.apply_to(torch.nn.Linear(2, 2), renumbering(1))


def test_expert_modules_are_renumbered_in_memory():
    """A model that keeps each expert as a module of its own is mapped as well."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    placement = renumbering(1, seed=4)
    moe = torch.nn.Module()
    moe.gate = torch.nn.Linear(4, 8, bias=False)
    moe.experts = torch.nn.ModuleList(
        torch.nn.ModuleDict({"w1": torch.nn.Linear(4, 4)}) for _ in range(8)
    )
    layer = torch.nn.Module()
    layer.block_sparse_moe = moe
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([layer])
    model.config = transformers.MixtralConfig()
    before = [e["w1"].weight.detach().clone() for e in moe.experts]
    rows = moe.gate.weight.detach().clone()
    gemopt.apply_to(model, placement)
    for new, old in enumerate(placement.phy2log[0].tolist()):
        assert moe.experts[new]["w1"].weight.equal(before[old])
        assert moe.gate.weight[new].equal(rows[old])


def _require_close(family, before, after):
    if family in BITWISE:
        assert after.equal(before), family
    difference = (after - before).abs().max().item()
    assert difference <= 1e-5 * max(1.0, before.abs().max().item())


def test_missing_packages_are_named(monkeypatch, tmp_path):
    """Without torch the comparison says which package to install."""
    monkeypatch.setattr("gemopt.checkpoint.logits.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape("needs torch")):
        compare_logits(tmp_path, tmp_path)
