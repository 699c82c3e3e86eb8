"""Importers of counts, engine by engine, against counts that went in."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

import gemopt
from gemopt.engines import export_map, import_trace, open_trace
from gemopt.model.placement import Placement
from gemopt.model.trace import RoutingTrace
from gemopt.traffic import serving_steps
from tests.engines import dumps
from tests.engines.dumps import torch

SLOTS = np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2], [0, 1, 2, 3, 3, 3]])
FRESH = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(engine: str, path: Path, **options: object) -> RoutingTrace:
    """Import to a file, read it back, and compare with the in-memory way."""
    folder = path if path.is_dir() else path.parent
    output = folder.parent / "out.trace.safetensors"
    done = import_trace(engine, path, output, **options)
    trace = gemopt.load_trace(output)
    assert done.layer_ids == tuple(trace.layer_ids.tolist())
    assert (done.steps, done.experts) == (len(trace.counts), trace.counts.shape[2])
    again = open_trace(engine, path, **options).collect()
    assert np.array_equal(again.counts, trace.counts)
    assert np.array_equal(again.layer_ids, trace.layer_ids)
    return trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder inside the test's own."""
    made = tmp_path / "dumps"
    made.mkdir()
    return made


def test_stat_files_follow_in_time(folder: Path) -> None:
    """Several stat dumps follow by the time in their names, dense layers dropped."""
    counts = dumps.counts(9, 4, 6)
    counts[:, 0] = 0
    dumps.stat(folder / "expert_distribution_recorder_9.75.pt", counts[:5])
    dumps.stat(folder / "expert_distribution_recorder_10.5.pt", counts[5:])
    torch.save({"other": 1}, folder / "model.pt")
    trace = read("sglang", folder)
    assert np.array_equal(trace.counts, counts[:, 1:])
    assert trace.layer_ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("start", [0, 3, 6])
def test_stat_ring_is_unrolled(folder: Path, start: int) -> None:
    """A ring buffer that is not full is put in time order, unused rows dropped."""
    counts = dumps.counts(5, 2, 4)
    ring = np.roll(np.concatenate([counts, np.zeros((3, 2, 4), int)]), start, axis=0)
    dumps.stat(folder / "expert_distribution_recorder_1.0.pt", ring)
    assert np.array_equal(read("sglang", folder).counts, counts)


def test_passes_of_ranks_are_summed(folder: Path) -> None:
    """Ranks and files of per_pass dumps are merged by pass and mapped to experts."""
    logical = [dumps.counts(7, 3, 4, seed) for seed in (1, 2)]
    for rank, own in enumerate(logical):
        physical = dumps.spread(own, SLOTS, rank)
        # The map changes between files; each file has its own.
        turned = SLOTS[:, ::-1].copy()
        name = "expert_distribution_recorder_{}_{}.pt"
        dumps.passes(folder / name.format(5.5, rank), 10, rank, physical[:4], SLOTS)
        dumps.passes(
            folder / name.format(5.51, rank), 14, rank, physical[4:, :, ::-1], turned
        )
    assert np.array_equal(read("sglang", folder).counts, logical[0] + logical[1])


def test_per_token_dumps(folder: Path) -> None:
    """Mode per_token has more fields in each record; the counts are the same."""
    path = dumps.passes(folder / "a_0.pt", 3, 0, dumps.counts(4, 3, 6), SLOTS)
    plain = read("sglang", folder)
    data = torch.load(path, weights_only=True)
    for record in data["records"]:
        record |= {
            "input_ids": [5, 7],
            "positions": [0, 1],
            "extend_seq_lens": [2],
            "forward_mode": 1,
            "topk_ids_of_layer": torch.full((3, 2, 8), -1, dtype=torch.int32),
            "misc_objects": [{"layer_id": 0, "num_tokens_per_rank": [2]}],
        }
    torch.save(data, path)
    assert np.array_equal(read("sglang", folder).counts, plain.counts)


def test_passes_that_a_rank_lacks_are_left_out(folder: Path) -> None:
    """A pass without all its ranks is left out, and the import says so."""
    physical = dumps.counts(4, 3, 6)
    dumps.passes(folder / "a_0.pt", 0, 0, physical, SLOTS)
    dumps.passes(folder / "a_1.pt", 1, 1, physical, SLOTS)
    source = open_trace("sglang", folder)
    assert len(source.collect().counts) == 3
    assert "2 forward passes left out: not every rank has them" in source.notes


def test_trtllm_sums_ranks_and_skips_raw_files(folder: Path) -> None:
    """TensorRT-LLM ranks are summed; layer ids stay those of the model."""
    counts = np.stack([dumps.counts(5, 3, 4, seed) for seed in range(3)])
    dumps.statistics(folder, counts, [3, 4, 60])
    save_file({"100_3": np.zeros(2)}, folder / "rank0_raw.safetensors")
    trace = read("trtllm", folder)
    assert np.array_equal(trace.counts, counts.sum(axis=0))
    assert trace.layer_ids.tolist() == [3, 4, 60]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_vllm_window(folder: Path, suffix: str) -> None:
    """A vLLM window begins at its ring's position; ranks of one name are summed."""
    logical = [dumps.counts(6, 3, 4, seed) for seed in (3, 4)]
    for rank, own in enumerate(logical):
        ring = np.roll(dumps.spread(own, SLOTS), 2 + rank, axis=0).astype(np.int32)
        arrays = {
            "expert_load_window": ring,
            "physical_to_logical_map": SLOTS,
            "expert_load_window_step": np.array([2 + rank]),
        }
        file = folder / f"load_rank{rank}{suffix}"
        if suffix == ".npz":
            np.savez_compressed(file, **arrays)
        elif suffix == ".pt":
            torch.save({k: torch.from_numpy(v) for k, v in arrays.items()}, file)
        else:
            save_file(arrays, file)
    trace = read("vllm", folder, layer_ids=[3, 4, 5])
    assert np.array_equal(trace.counts, logical[0] + logical[1])
    assert trace.layer_ids.tolist() == [3, 4, 5]


def test_vllm_map_in_a_file_of_its_own_and_unused_slots(folder: Path) -> None:
    """Slots with -1 (elastic scaling) count nothing; --map gives the map."""
    slots = SLOTS.copy()
    slots[:2, 4:] = -1
    physical = dumps.counts(3, 3, 6)
    np.savez(folder / "w.npz", expert_load_window=physical)
    np.savez(folder / "m.npz", physical_to_logical_map=slots)
    trace = read("vllm", folder / "w.npz", map=folder / "m.npz")
    assert trace.counts[0, 0].tolist() == physical[0, 0, :4].tolist()
    assert trace.counts[:, 2].sum() == physical[:, 2].sum()


def test_vllm_offline_file(folder: Path) -> None:
    """The safetensors file of vLLM pull request 41141 is one step a model."""
    load = dumps.counts(1, 3, 4)[0].astype(np.float32)
    file = folder / "load.safetensors"
    tensors = {"target": load, "draft": load[:1]}
    save_file(tensors, file, metadata={"version": "1"})
    trace = read("vllm", file, model="target")
    assert np.array_equal(trace.counts, load[None])
    with pytest.raises(ValueError, match="draft, target; choose one with --model"):
        open_trace("vllm", file).collect()


@pytest.mark.parametrize("stages", [None, 4])
def test_ascend_view(folder: Path, stages: int | None) -> None:
    """A load view of vllm-ascend is mapped by the recorded map."""
    slots = np.array([[0, 1, 2, 3, 0, 1], [3, 2, 1, 0, 3, 2]])
    logical = dumps.counts(stages or 1, 2, 4)
    load = dumps.spread(logical, slots).reshape(-1, 2, 3, 2)
    torch.save(
        torch.from_numpy(load if stages else load[0]), folder / "expert_load_view.pt"
    )
    export_map("vllm-ascend", Placement(slots, np.full(3, 2)), folder / "map.json")
    assert np.array_equal(read("vllm-ascend", folder).counts, logical)
    (folder / "map.json").unlink()
    torch.save(torch.from_numpy(slots.reshape(2, 3, 2)), folder / "table.pt")
    again = read("vllm-ascend", folder, map=folder / "table.pt")
    assert np.array_equal(again.counts, logical)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_tokens_make_the_same_steps_as_serving(folder: Path, suffix: str) -> None:
    """Per-token ids give the steps of `serving_steps`, file by file."""
    rng = np.random.default_rng(0)
    expected = []
    for i in range(2):
        ids = np.argsort(rng.random((40, 2, 6)), axis=2)[:, :, :2].astype(np.uint8)
        arrays = {"expert_ids": ids, "request_offsets": np.array([0, 9, 20, 31, 40])}
        if suffix == ".npz":
            np.savez(folder / f"{i}.npz", layer_ids=np.array([1, 5]), **arrays)
        else:
            arrays["layer_ids"] = np.array([1, 5])
            save_file(arrays, folder / f"{i}.safetensors")
        expected.append(
            serving_steps(ids, arrays["request_offsets"], 2, experts=6, seed=3)
        )
    trace = read("tokens", folder, batch=2, experts=6, seed=3)
    assert np.array_equal(trace.counts, np.concatenate(expected))
    assert trace.layer_ids.tolist() == [1, 5]


@FRESH
@given(
    counts=hnp.arrays(
        np.int64,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.integers(0, 70_000),
    ),
    cut=st.integers(1, 5),
)
def test_stat_round_trip(tmp_path: Path, counts: np.ndarray, cut: int) -> None:
    """Stat dumps cut anywhere give back the steps and layers that route tokens."""
    folder = tmp_path / "dumps"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    counts[0, 0, 0] = 1  # some token at least
    for i in range(0, len(counts), cut):
        name = f"expert_distribution_recorder_{i}.5.pt"
        dumps.stat(folder / name, counts[i : i + cut])
    trace = read("sglang", folder)
    layers = np.flatnonzero(counts.any(axis=(0, 2)))
    assert trace.layer_ids.tolist() == layers.tolist()
    used = counts[counts.any(axis=(1, 2))][:, layers]
    order = np.lexsort(used.reshape(len(used), -1).T)
    found = np.lexsort(trace.counts.reshape(len(used), -1).T)
    assert np.array_equal(trace.counts[found], used[order])


@FRESH
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    experts=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_trtllm_round_trip(
    tmp_path: Path, shape: tuple[int, int, int], experts: int, seed: int
) -> None:
    """What TensorRT-LLM's ranks counted comes back as their sum."""
    folder = tmp_path / "stats"
    if folder.exists():
        for old in folder.iterdir():
            old.unlink()
    rng = np.random.default_rng(seed)
    counts = rng.poisson(3, (*shape, experts))
    counts[0, :, :, 0] += 1
    layers = sorted(rng.choice(99, shape[2], replace=False).tolist())
    dumps.statistics(folder, counts, layers)
    trace = read("trtllm", folder)
    assert np.array_equal(trace.counts, counts.sum(axis=0))
    assert trace.layer_ids.tolist() == layers


@FRESH
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5)),
    largest=st.sampled_from([1, 255, 256, 65536, 2**31]),
    name=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5),
)
def test_streamed_file_is_the_saved_file(
    tmp_path: Path, shape: tuple[int, int, int], largest: int, name: str
) -> None:
    """The streaming writer gives the bytes that `save_trace` gives."""
    from gemopt.engines.source import TraceSource
    from gemopt.engines.stream import write_trace

    rng = np.random.default_rng(1)
    counts = rng.integers(0, min(largest, 2**20), shape)
    counts[0, :, 0] = largest
    ids = np.arange(shape[1]) * 2
    facts = {"name": name, "files": 3}
    blocks = iter(np.array_split(counts, 3))
    write_trace(
        TraceSource(tmp_path, blocks, ids, provenance=facts), tmp_path / "a.safetensors"
    )
    trace = RoutingTrace.from_arrays(counts, layer_ids=ids, provenance=facts, name="a")
    gemopt.save_trace(trace, tmp_path / "b.safetensors")
    streamed = (tmp_path / "a.safetensors").read_bytes()
    assert streamed == (tmp_path / "b.safetensors").read_bytes()
