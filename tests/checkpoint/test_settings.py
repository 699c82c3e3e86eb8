"""Settings that name experts follow them, or their file is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gemopt
from gemopt.checkpoint import apply_checkpoint
from gemopt.checkpoint.checkpoint import Checkpoint
from gemopt.checkpoint.settings import renamed_settings

#: Expert 1 becomes 3, 3 becomes 2, 2 becomes 0, 0 becomes 1; expert 4 stays.
ROW = np.array([2, 0, 3, 1, 4])
OTHER = np.array([3, 2, 1, 0, 4])


def renamed(folder: Path, value: Any, file: str = "config.json") -> Any:
    """What becomes of a file of settings when layers 0 and 1 are mapped."""
    (folder / file).write_text(json.dumps(value))
    source = Checkpoint(folder, {"model_type": "qwen3_moe"}, None, {})
    texts = renamed_settings(source, {0: ROW, 1: OTHER})
    return json.loads(texts[file]) if file in texts else value


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model.layers.0.mlp.experts.1.down_proj", "3.down_proj"),  # AutoRound
        ("layers.0.mlp.experts.1", "3"),
        ("model.language_model.layers.0.mlp.experts.1.up_proj", "3.up_proj"),
        (r"-:model\.layers\.0\.mlp\.experts\.1\..*", r"3\..*"),  # GPTQ
        (r"re:.*layers\.0\.mlp\.experts\.1\.", r"3\."),  # compressed-tensors
        ("*layers.0.mlp.experts.1.*", "3.*"),  # ModelOpt
        ("model.layers.0.mlp.experts.1.down_proj.weight", "3.down_proj.weight"),
        ("model.layers.1.mlp.experts.1.w1", "2.w1"),
    ],
)
def test_one_expert_is_followed(tmp_path: Path, before: str, after: str) -> None:
    """A name of one expert, however spelled, gets its number, as key and as value."""
    wanted = before[: before.index("experts") + 7]
    wanted += before[len(wanted) : before.index("1", len(wanted))] + after
    value = {
        "quantization_config": {"extra": {before: {"bits": 8}}, "ignore": [before]}
    }
    found = renamed(tmp_path, value, "quantize_config.json")["quantization_config"]
    assert found == {"extra": {wanted: {"bits": 8}}, "ignore": [wanted]}


@pytest.mark.parametrize(
    "text",
    [
        "model.layers.0.mlp.experts.4.up_proj",
        "model.layers.7.mlp.experts.1.up_proj",
        "mtp.layers.0.mlp.experts.1.up_proj",
        "vision_model.layers.0.mlp.experts.1.up_proj",
        "model.layers.0.mlp.shared_experts.1.up_proj",
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.w13_weight",
        "*.mlp.experts.*.up_proj",
        r"re:.*mlp\.experts\.\d+\.up_proj",
        r"re:.*experts.*down_proj",
        "*.mlp.experts.4.*",
        "experts_int8",
        "num_experts_per_tok",
        "128 experts. 8 of them active",
    ],
)
def test_what_names_no_moved_expert_stays(tmp_path: Path, text: str) -> None:
    """All experts, those that stay, other modules and mere words are left alone."""
    assert renamed(tmp_path, {"x": [text]}) == {"x": [text]}


@pytest.mark.parametrize(
    "text",
    [
        "*.mlp.experts.1.*",
        r"re:.*layers\.\d+\.mlp\.experts\.1\.up_proj",
        r"re:.*layers\.0\.mlp\.experts\.(1|2)\.",
        r"re:.*layers\.0\.mlp\.experts\.[0-2]\.",
        "model.layers.0.mlp.experts.1*",
    ],
)
def test_patterns_that_cannot_follow_are_refused(tmp_path: Path, text: str) -> None:
    """A pattern that takes some experts of some layers is refused with its file."""
    with pytest.raises(gemopt.FileError, match=r"config\.json: setting .*experts"):
        renamed(tmp_path, {"ignore": [text]})


def test_recipes_in_yaml_follow_and_others_keep_their_bytes(tmp_path: Path) -> None:
    """YAML is followed line by line; a file that names no expert is not rewritten."""
    (tmp_path / "recipe.yaml").write_text(
        "ignore:\n  - 'model.layers.0.mlp.experts.1.up_proj'\n  - lm_head\n"
    )
    (tmp_path / "config.json").write_text('{"model_type":   "qwen3_moe"}')
    source = Checkpoint(tmp_path, {"model_type": "qwen3_moe"}, None, {})
    texts = renamed_settings(source, {0: ROW})
    assert texts == {
        "recipe.yaml": (
            "ignore:\n  - 'model.layers.0.mlp.experts.3.up_proj'\n  - lm_head\n"
        )
    }


def test_numbers_below_the_experts_of_a_layer_follow(tmp_path: Path) -> None:
    """Experts that are keys of their own below ``...experts`` are followed too."""
    value = {"model.layers.0.mlp.experts": {"1": 8, "4": 2}}
    assert renamed(tmp_path, value) == {"model.layers.0.mlp.experts": {"3": 8, "4": 2}}


def test_refusal_comes_before_any_weight_is_written(tmp_path: Path) -> None:
    """A setting that cannot follow leaves no output folder behind."""
    from tests.checkpoint.test_apply import mixtral, write_checkpoint

    config = {"model_type": "mixtral", "ignore": ["*.experts.5.w1"]}
    source = write_checkpoint(tmp_path / "in", mixtral(), config)
    row = np.roll(np.arange(8), 1)
    with pytest.raises(gemopt.FileError, match=r"config\.json"):
        apply_checkpoint(source, gemopt.Placement(row[None], [4, 4]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_uneven_contiguous_slots_are_applied(tmp_path: Path) -> None:
    """Where experts do not divide, the first GPUs may have one more; no other split."""
    from tests.checkpoint.test_apply import mixtral, write_checkpoint

    config = {"model_type": "mixtral"}
    source = write_checkpoint(tmp_path / "in", mixtral(), config)
    row = np.roll(np.arange(8), 1)
    done = apply_checkpoint(
        source, gemopt.Placement(row[None], [3, 3, 2]), tmp_path / "out"
    )
    assert done.moved == 8
    for slots in ([2, 3, 3], [4, 2, 2]):
        with pytest.raises(ValueError, match="are unequal"):
            apply_checkpoint(
                source, gemopt.Placement(row[None], slots), tmp_path / "no"
            )
