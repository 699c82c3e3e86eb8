"""Expert maps: bytes, round trips, and what the engines would refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

import gemopt.files.errors
from gemopt.engines import export_map, import_map
from gemopt.model.placement import Placement
from tests.engines import dumps
from tests.engines.dumps import torch

FRESH = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FILES = [
    ("sglang", "map.json"),
    ("sglang", "map.pt"),
    ("trtllm", "map.yaml"),
    ("vllm", "map.json"),
    ("vllm-ascend", "map.json"),
]
TWO = Placement(np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2]]), np.array([2] * 3))


@pytest.mark.parametrize(("engine", "name"), FILES)
@FRESH
@given(case=dumps.maps())
def test_round_trip(
    tmp_path: Path, engine: str, name: str, case: tuple[Placement, list[int]]
) -> None:
    """What was exported is what our importer reads back."""
    placement, layers = case
    path = tmp_path / name
    export_map(engine, placement, path, layer_ids=layers)
    back = import_map(engine, path, gpus=placement.num_gpus, layer_ids=layers)
    assert back.placement == placement
    assert back.layer_ids.tolist() == layers


def test_sglang_holds_all_hidden_layers_and_no_other_key(tmp_path: Path) -> None:
    """Dense layers get a row as well, and nothing stands beside the map."""
    for name in ("m.json", "m.pt"):
        path = tmp_path / name
        export_map("sglang", TWO, path, layer_ids=[1, 3], hidden_layers=5)
        if name == "m.pt":
            data = torch.load(path, weights_only=True)
            assert data["physical_to_logical_map"].dtype == torch.int64
            data = {key: value.tolist() for key, value in data.items()}
        else:
            data = json.loads(path.read_text())
        first = [0, 1, 2, 3, 0, 1]
        rows = [first, first, first, [3, 2, 1, 0, 3, 2], first]
        assert data == {"physical_to_logical_map": rows}


def test_trtllm_bytes(tmp_path: Path) -> None:
    """The YAML has the bytes of TensorRT-LLM's own generator."""
    path = tmp_path / "m.yaml"
    export_map("trtllm", TWO, path, layer_ids=[3, 4])
    assert path.read_text() == (
        "initial_global_assignments:\n"
        "  3: [0, 1, 2, 3, 0, 1]\n"
        "  4: [3, 2, 1, 0, 3, 2]\n"
        "layer_updates_per_iter: 0\n"
        "num_slots: 6\n"
    )


@FRESH
@given(case=dumps.maps())
def test_trtllm_layers_that_nobody_placed(
    tmp_path: Path, case: tuple[Placement, list[int]]
) -> None:
    """An extra layer gets every expert, and none twice on a rank."""
    placement, layers = case
    path = tmp_path / "m.yaml"
    export_map("trtllm", placement, path, layer_ids=layers, extra_layers=[61])
    row = yaml.safe_load(path.read_text())["initial_global_assignments"][61]
    assert set(row) == set(range(int(placement.phy2log.max()) + 1))
    for own in np.array_split(row, placement.num_gpus):
        assert len(set(own.tolist())) == len(own)


def test_ascend_bytes(tmp_path: Path) -> None:
    """The JSON has vllm-ascend's keys, indent of 4 and no last newline."""
    path = tmp_path / "m.json"
    placement = Placement(np.array([[0, 1, 1, 0]]), np.array([2, 2]))
    export_map("vllm-ascend", placement, path)
    expected = {
        "moe_layer_count": 1,
        "layer_list": [
            {
                "layer_id": 0,
                "device_count": 2,
                "device_list": [
                    {"device_id": 0, "device_expert": [0, 1]},
                    {"device_id": 1, "device_expert": [1, 0]},
                ],
            }
        ],
    }
    assert path.read_text() == json.dumps(expected, indent=4)


def test_vllm_map_for_all_layers(tmp_path: Path) -> None:
    """One row for all layers is read for the layers that are named."""
    path = tmp_path / "m.json"
    path.write_text("[0, 1, 2, 3, 0, 1]")
    back = import_map("vllm", path, gpus=2, layer_ids=[3, 4])
    assert back.placement.phy2log.tolist() == [[0, 1, 2, 3, 0, 1]] * 2


@pytest.mark.parametrize(
    ("engine", "name", "rows", "slots", "options", "reason"),
    [
        ("sglang", "m.json", [[0, 1, 2, 0, 1]], [3, 2], {}, "slots = [3, 2]: sglang"),
        ("trtllm", "m.yaml", [[0, 1, 2, 0, 1]], [3, 2], {}, "same number"),
        ("vllm", "m.json", [[0, 1, 1, 3]], [2, 2], {}, "phy2log[0]: expert 2 has no"),
        ("vllm", "m.json", [[0, 1, -1, 1]], [2, 2], {}, "below 0"),
        ("vllm-ascend", "m.json", [[0, 0, 1, 1]], [2, 2], {}, "rank 0 holds expert 0"),
        ("vllm-ascend", "m.txt", [[0, 1]], [1, 1], {}, "do not end in .json"),
        ("sglang", "m.txt", [[0, 1]], [1, 1], {}, "needs .json or .pt"),
        (
            "sglang",
            "m.json",
            [[0, 1], [1, 0]],
            [1, 1],
            {"hidden_layers": 1},
            "--hidden-layers = 1, but the placement has layer 1",
        ),
        (
            "trtllm",
            "m.yaml",
            [[0, 1]],
            [1, 1],
            {"extra_layers": [0]},
            "--extra-layers = 0 is in the placement",
        ),
        (
            "vllm",
            "m.json",
            [[0, 1]],
            [1, 1],
            {"extra_layers": [9]},
            "no option of vllm",
        ),
        ("vlm", "m.json", [[0, 1]], [1, 1], {}, "did you mean 'vllm'"),
    ],
)
def test_refusals(
    tmp_path: Path,
    engine: str,
    name: str,
    rows: list[list[int]],
    slots: list[int],
    options: dict[str, object],
    reason: str,
) -> None:
    """What an engine would refuse is refused here, with the reason, and not written."""
    placement = Placement(np.array(rows), np.array(slots))
    with pytest.raises(ValueError) as caught:
        export_map(engine, placement, tmp_path / name, **options)
    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("engine", "name", "text", "reason"),
    [
        ("sglang", "m.json", "", "empty"),
        ("sglang", "m.json", '{"logical_count": []}', "import it as a trace"),
        ("sglang", "m.json", '{"physical_to_logical_map": [[0]], "x": 1}', "x stands"),
        ("sglang", "m.json", '{"physical_to_logical_map": [[0, 1], [0]]}', "unequal"),
        ("sglang", "m.json", '{"physical_to_logical_map": [[0, 1, 2]]}', "3 slots"),
        ("sglang", "m.json", '{"physical_to_logical_map": [[0, 2]]}', "expert 1"),
        ("sglang", "m.json", '{"physical_to_logical_map": {"a": 1}}', "dimensions"),
        ("sglang", "m.pt", "junk", "cannot be read"),
        ("trtllm", "m.yaml", "a: [", "no YAML"),
        ("trtllm", "m.yaml", "3", "needs a YAML mapping"),
        ("trtllm", "m.yaml", "num_slots: 2\nlayers: 3", "layers is no field"),
        ("trtllm", "m.yaml", "num_slots: 2", "no map to read"),
        (
            "trtllm",
            "m.yaml",
            "num_slots: 4\ninitial_global_assignments:\n  3: [0, 1]",
            "[3] has 2 slots, num_slots = 4",
        ),
        (
            "trtllm",
            "m.yaml",
            "num_slots: 2\ninitial_global_assignments:\n  a: [0, 1]",
            "key 'a'",
        ),
        ("vllm", "m.json", "{}", "holds no list"),
        ("vllm", "m.json", "[0, 1]", "name them with --layer-ids"),
        ("vllm", "m.json", '[["a", "b"]]', "whole numbers"),
        ("vllm-ascend", "m.json", "[]", "document"),
        (
            "vllm-ascend",
            "m.json",
            '{"moe_layer_count": 2, "layer_list": [{"device_list": []}]}',
            "moe_layer_count = 2",
        ),
        (
            "vllm-ascend",
            "m.json",
            '{"moe_layer_count": 1, "layer_list": [{"device_list": '
            '[{"device_expert": [0]}, {"device_expert": [0, 1]}]}]}',
            "as many experts",
        ),
        (
            "vllm-ascend",
            "m.json",
            '{"moe_layer_count": 1, "layer_list": [{"device_list": '
            '[{"device_expert": [0.5]}]}]}',
            "device_expert[0] = 0.5",
        ),
    ],
)
def test_malformed_maps(
    tmp_path: Path, engine: str, name: str, text: str, reason: str
) -> None:
    """A malformed map gives one line with the file and the reason."""
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(gemopt.files.errors.FileError) as caught:
        import_map(engine, path, gpus=2)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
