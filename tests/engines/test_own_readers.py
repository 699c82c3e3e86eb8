"""Our files in the engines' own code, and their files in ours.

Against SGLang 0.5.23, vLLM 0.33.0 and vllm-ascend 0.26.0rc1, from their wheels.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from gemopt.engines import export_map, import_map, open_trace
from gemopt.model.placement import Placement
from tests.engines import dumps
from tests.engines.dumps import torch
from tests.engines.wheels import definitions

SGLANG, VLLM, ASCEND = "sglang==0.5.23", "vllm==0.33.0", "vllm-ascend==0.26.0rc1"
TWO = Placement(np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2]]), np.array([2] * 3))


def _sglang_location(path: Path, ranks: int, slots: int, experts: int) -> Any:
    """What SGLang's ``compute_initial_expert_location_metadata`` makes of a file."""
    moe = SimpleNamespace(
        init_expert_location=str(path),
        ep_num_redundant_experts=slots - experts,
        moe_a2a_backend="none",
        ep_dispatch_algorithm="static",
        ep_join_mode="none",
    )
    parallel = SimpleNamespace(ep_size=ranks, nnodes=1, elastic_ep_initial_size=None)
    model = SimpleNamespace(num_layers=4, num_logical_experts=experts, num_groups=None)
    space = definitions(
        SGLANG,
        "sglang/srt/eplb/expert_location.py",
        [
            "ExpertLocationMetadata",
            "append_trivial_expert_slots",
            "_compute_logical_to_all_physical_map",
            "_pad_nested_array",
            "compute_logical_to_rank_dispatch_physical_map",
            "_logical_to_all_physical_raw",
            "_compute_gpu_id_of_physical_expert",
            "_compute_node_id_of_physical_expert",
            "_find_nearest_expert",
            "_fair_choices",
            "compute_initial_expert_location_metadata",
        ],
        {
            "torch": torch,
            "F": torch.nn.functional,
            "json": json,
            "Path": Path,
            "dataclass": dataclass,
            "random": __import__("random"),
            "logger": logging.getLogger("sglang"),
            "get_exec": lambda: SimpleNamespace(moe=moe),
            "get_parallel": lambda: parallel,
            "get_device": lambda: SimpleNamespace(device="cpu"),
            "_prefer_same_node_experts": lambda: False,
            "ModelConfigForExpertLocation": SimpleNamespace(
                from_model_config=lambda config: model
            ),
        },
    )
    return space["compute_initial_expert_location_metadata"](None, 0)


@pytest.mark.parametrize("name", ["map.json", "map.pt"])
def test_sglang_starts_from_our_map(tmp_path: Path, name: str) -> None:
    """SGLang 0.5.23 reads our JSON and .pt, and finds every replica in its slot."""
    path = tmp_path / name
    export_map("sglang", TWO, path, layer_ids=[1, 3])
    metadata = _sglang_location(path, ranks=3, slots=6, experts=4)
    assert metadata.ep_size == 3
    found = metadata.physical_to_logical_map[[1, 3]]
    assert found.tolist() == TWO.phy2log.tolist()
    for layer, row in ((1, TWO.phy2log[0]), (3, TWO.phy2log[1])):
        for expert in range(4):
            own = metadata.logical_to_all_physical(layer, expert)
            assert own == np.flatnonzero(row == expert).tolist()


class _Torch:
    """torch for one rank alone: without a process group."""

    distributed = SimpleNamespace(
        all_reduce=lambda tensor, op: tensor, ReduceOp=SimpleNamespace(SUM=None)
    )

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def get_device_module(self) -> Any:
        return SimpleNamespace(empty_cache=lambda: None)


def _sglang_recorder(folder: Path, buffer: int) -> dict[str, Any]:
    moe = SimpleNamespace(expert_distribution_recorder_buffer_size=buffer)
    times = iter(range(10, 99))
    folder_option = SimpleNamespace(get=lambda: str(folder))
    return definitions(
        SGLANG,
        "sglang/srt/eplb/expert_distribution.py",
        [
            "_Accumulator",
            "_UtilizationRateAccumulatorMixin",
            "_DetailAccumulator",
            "_StatAccumulator",
            "_dump_to_file",
            "_Buffer",
            "_CircularBuffer",
            "_InfiniteBuffer",
            "_convert_global_physical_count_to_logical_count",
        ],
        {
            "ABC": object,
            "torch": _Torch(),
            "Path": Path,
            "time": SimpleNamespace(time=lambda: f"{next(times)}.25"),
            "logger": logging.getLogger("sglang"),
            "reports_expert_balancedness": lambda: False,
            "get_exec": lambda: SimpleNamespace(moe=moe),
            "get_device_namespace": lambda: SimpleNamespace(device="cpu"),
            "envs": SimpleNamespace(
                SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR=folder_option
            ),
        },
    )


def _location(slots: np.ndarray, experts: int) -> Any:
    return SimpleNamespace(
        num_layers=len(slots),
        num_physical_experts=slots.shape[1],
        num_logical_experts=experts,
        physical_to_logical_map=torch.from_numpy(slots.copy()),
    )


@pytest.mark.parametrize("buffer", [-1, 7])
def test_dumps_of_sglangs_own_stat_recorder(tmp_path: Path, buffer: int) -> None:
    """Two recordings of SGLang's ring (the second wraps) come back in order."""
    slots = TWO.phy2log
    logical = dumps.counts(9, 2, 4)
    physical = dumps.spread(logical, slots).astype(np.int32)
    space = _sglang_recorder(tmp_path, buffer)
    recorder = space["_StatAccumulator"](_location(slots, 4), 0)
    for part in (physical[:4], physical[4:]):
        for i, each in enumerate(part):
            data = {"global_physical_count": torch.from_numpy(each)}
            recorder.append(i, "primary", data, {})
        recorder.dump("file")
        recorder.reset()
    assert len(list(tmp_path.glob("*.pt"))) == 2
    trace = open_trace("sglang", tmp_path).collect()
    assert np.array_equal(trace.counts, logical)


def test_dumps_of_sglangs_own_detail_recorder(tmp_path: Path) -> None:
    """Dumps of mode per_pass give what SGLang's own reader and map give."""
    slots = TWO.phy2log
    space = _sglang_recorder(tmp_path, -1)
    for rank in (0, 1):
        recorder = space["_DetailAccumulator"](_location(slots, 4), rank)
        for i, each in enumerate(dumps.spread(dumps.counts(5, 2, 4, rank), slots)):
            data = {"global_physical_count": torch.from_numpy(each)}
            recorder.append(30 + i, "primary", data, {})
        recorder.dump("file")
    convert = space["_convert_global_physical_count_to_logical_count"]
    reader = definitions(
        SGLANG,
        "sglang/srt/eplb/eplb_simulator/reader.py",
        ["read_mode_per_pass"],
        {
            "torch": torch,
            "Path": Path,
            "tqdm": lambda files: files,
            "defaultdict": __import__("collections").defaultdict,
        },
    )
    theirs = reader["read_mode_per_pass"](tmp_path)
    expected = convert(
        theirs["global_physical_count_of_forward_pass"],
        num_layers=2,
        num_logical_experts=4,
        physical_to_logical_map=theirs["last_physical_to_logical_map"],
    )
    trace = open_trace("sglang", tmp_path).collect()
    assert trace.counts.tolist() == expected.tolist()


def test_vllm_derives_its_maps_from_ours(tmp_path: Path) -> None:
    """vLLM 0.33.0 finds every replica of our rows, as its own policies' rows."""
    path = tmp_path / "map.json"
    export_map("vllm", TWO, path)
    space = definitions(
        VLLM,
        "vllm/distributed/eplb/eplb_state.py",
        ["compute_logical_maps"],
        {"torch": torch},
    )
    rows = torch.tensor(json.loads(path.read_text()))
    log2phy, replicas = space["compute_logical_maps"](rows, 4)
    assert replicas.tolist() == TWO.replicas(4).tolist()
    for layer, row in enumerate(TWO.phy2log):
        for expert in range(4):
            own = [slot for slot in log2phy[layer, expert].tolist() if slot >= 0]
            assert own == np.flatnonzero(row == expert).tolist()


def _ascend_utils() -> dict[str, Any]:
    return definitions(
        ASCEND,
        "vllm_ascend/eplb/core/eplb_utils.py",
        ["expert_file_to_tensor"],
        {"json": json, "torch": torch, "logger": logging.getLogger("ascend")},
    )


def test_ascend_reads_our_map(tmp_path: Path) -> None:
    """vllm-ascend 0.26.0rc1 reads our JSON, one more layer (MTP) falls back."""
    path = tmp_path / "map.json"
    export_map("vllm-ascend", TWO, path)
    read = _ascend_utils()["expert_file_to_tensor"]
    for layer in (0, 1):
        table, slots = read(str(path), layer)
        assert slots == 6
        assert table.tolist() == TWO.phy2log[layer].reshape(3, 2).tolist()
    assert read(str(path), 2) == (None, 6)


def test_our_map_has_the_bytes_of_ascends_own_recorder(tmp_path: Path) -> None:
    """vllm-ascend's recorder writes the same bytes, and we read them."""
    adaptor = definitions(
        ASCEND,
        "vllm_ascend/eplb/adaptor/vllm_adaptor.py",
        ["VllmEplbAdaptor"],
        {"json": json, "torch": torch},
    )["VllmEplbAdaptor"]
    places = torch.full((2, 3, 4), -1)  # layer, rank, expert -> place on the rank
    for layer, row in enumerate(TWO.phy2log.reshape(2, 3, 2)):
        for rank, own in enumerate(row.copy()):
            places[layer, rank, own] = torch.arange(2)
    theirs, ours = tmp_path / "theirs.json", tmp_path / "ours.json"
    adaptor._export_tensor_to_file(SimpleNamespace(rank_id=0), places, str(theirs))
    export_map("vllm-ascend", TWO, ours)
    assert ours.read_bytes() == theirs.read_bytes()
    assert import_map("vllm-ascend", theirs).placement == TWO


def test_ascend_would_refuse_what_we_refuse(tmp_path: Path) -> None:
    """Its own check drops a layer with an expert twice on a rank; so do we."""
    worker = definitions(
        ASCEND,
        "vllm_ascend/eplb/core/eplb_worker.py",
        ["EplbWorker"],
        {"torch": torch, "logger": logging.getLogger("ascend")},
    )["EplbWorker"]
    old = torch.tensor([[[0, 1], [2, 3], [0, 1]]])
    twice = torch.tensor([[[0, 1], [2, 3], [1, 1]]])
    worker.check_expert_placement(None, old, twice)
    assert twice.tolist() == old.tolist()
    refused = Placement(np.array([[0, 1, 2, 3, 1, 1]]), np.array([2] * 3))
    with pytest.raises(ValueError, match="rank 2 holds expert 1 twice"):
        export_map("vllm-ascend", refused, tmp_path / "m.json")


def test_trtllm_accepts_our_yaml(tmp_path: Path) -> None:
    """A twin of TensorRT-LLM's strict configuration takes our file.

    Its wheel needs NVIDIA's index, so the rules of ``MoeLoadBalancerConfig`` and of its
    ``setup`` are written down here: no unknown key, slots that divide by the ranks, a
    list of that length for every layer.
    """
    from pydantic import BaseModel, ConfigDict

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        num_slots: int
        initial_global_assignments: dict[int, list[int]]
        layer_updates_per_iter: int = 0

    path = tmp_path / "map.yaml"
    export_map("trtllm", TWO, path, layer_ids=[3, 4], extra_layers=[5])
    config = Strict(**yaml.safe_load(path.read_text()))
    assert config.num_slots % 3 == 0
    assert sorted(config.initial_global_assignments) == [3, 4, 5]
    lengths = {len(row) for row in config.initial_global_assignments.values()}
    assert lengths == {config.num_slots}
    rank_one = config.initial_global_assignments[4][2:4]
    assert rank_one == TWO.gpu2experts(1)[1]
