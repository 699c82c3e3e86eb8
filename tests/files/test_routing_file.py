"""Tests of the routing files that `gemopt build` takes."""

import numpy as np
import pytest

from gemopt.files.errors import FileError
from gemopt.files.routing_file import read_routing
from gemopt.files.trace_file import save_trace
from gemopt.model.trace import RoutingTrace
from gemopt.traffic import serving_steps

COUNTS = np.arange(24).reshape(3, 2, 4)
_ORDER = np.random.default_rng(0).random((40, 2, 8)).argsort(axis=2)
IDS = _ORDER[:, :, :2].astype(np.uint8)
OFFSETS = np.arange(0, 41, 5)


def _npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_counts_and_layer_ids_are_read(tmp_path):
    """Counts of an .npz are taken as they are, with the layer ids beside them."""
    path = _npz(tmp_path / "a.npz", counts=COUNTS, layer_ids=np.array([3, 5]))
    trace = read_routing(path)
    np.testing.assert_array_equal(trace.counts, COUNTS)
    assert trace.layer_ids.tolist() == [3, 5] and trace.name == "a"
    assert trace.provenance["trace"] == "a.npz"
    assert len(trace.provenance["trace_sha256"]) == 64


def test_layers_first_turns_the_axes(tmp_path):
    """Counts stored layer by layer are turned to steps first."""
    path = _npz(tmp_path / "a.npz", counts=COUNTS.transpose(1, 0, 2))
    trace = read_routing(path, layers_first=True)
    np.testing.assert_array_equal(trace.counts, COUNTS)


def test_own_traces_are_read(tmp_path):
    """A trace of ours keeps counts, layer ids and weights."""
    path = tmp_path / "a.trace.safetensors"
    trace = RoutingTrace.from_arrays(COUNTS, layer_ids=[1, 2], weights=[1, 2, 3])
    save_trace(trace, path)
    found = read_routing(path)
    np.testing.assert_array_equal(found.counts, COUNTS)
    assert found.layer_ids.tolist() == [1, 2] and found.weights.tolist() == [1, 2, 3]


def test_per_token_routing_becomes_serving_steps(tmp_path):
    """Expert ids give the steps of a batched server, by seed and number of steps."""
    path = _npz(tmp_path / "a.npz", expert_ids=IDS, request_offsets=OFFSETS)
    trace = read_routing(path, batch=3, steps=20, seed=4)
    expected = serving_steps(IDS, OFFSETS, 3, experts=8, steps=20, seed=4)
    np.testing.assert_array_equal(trace.counts, expected)
    assert trace.provenance["batch"] == 3
    assert read_routing(path, batch=3, experts=9).counts.shape[2] == 9


def test_tokens_with_their_own_steps_are_read_as_they_are(tmp_path):
    """`step_offsets` keep the recorded steps; groups of experts come along."""
    path = _npz(
        tmp_path / "a.npz",
        expert_ids=IDS,
        step_offsets=OFFSETS,
        n_group=np.int64(4),
        topk_group=np.int64(2),
    )
    trace = read_routing(path)
    assert trace.counts.shape == (8, 2, 8)
    first = np.bincount(IDS[:5, 1].ravel(), minlength=8)
    np.testing.assert_array_equal(trace.counts[0, 1], first)
    assert trace.tokens is not None
    assert (trace.tokens.n_group, trace.tokens.topk_group) == (4, 2)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"counts": COUNTS - 1}, {}, r"counts\[0, 0, 0\] = -1 is negative"),
        ({"counts": COUNTS * 0.5}, {}, "is no whole number"),
        ({"counts": COUNTS * np.nan}, {}, "= nan is no whole number"),
        ({"counts": COUNTS[:0]}, {}, "zero steps"),
        ({"counts": COUNTS[0]}, {}, "counts has 2 dimensions"),
        ({"counts": COUNTS * 2**60}, {}, "2\\*\\*62"),
        ({"counts": COUNTS}, {"batch": 3}, "--batch = 3 is for expert_ids"),
        ({"counts": COUNTS, "layer_ids": [1]}, {}, "layer_ids has 1 values"),
        ({"loads": COUNTS}, {}, "holds loads; needs counts or expert_ids"),
        ({"counts": COUNTS, "expert_ids": IDS}, {}, "holds both"),
        ({"expert_ids": IDS}, {"batch": 3}, "or step_offsets is missing"),
        (
            {"expert_ids": IDS, "step_offsets": OFFSETS},
            {"batch": 3},
            "has its own steps .* no --batch = 3",
        ),
        (
            {"expert_ids": IDS, "step_offsets": OFFSETS},
            {"experts": 4},
            "expert_ids has id 7, outside 0..3",
        ),
        (
            {"expert_ids": IDS, "step_offsets": OFFSETS, "n_group": 2, "topk_group": 3},
            {},
            "topk_group = 3 must be",
        ),
        (
            {"expert_ids": IDS, "step_offsets": OFFSETS, "n_group": [2, 2]},
            {},
            r"n_group = \[2, 2\] must be one whole number",
        ),
        ({"expert_ids": IDS, "request_offsets": OFFSETS}, {}, "give --batch"),
        (
            {"expert_ids": IDS, "request_offsets": OFFSETS},
            {"batch": 9},
            "batch = 9 never runs full with 8 requests",
        ),
        (
            {"expert_ids": IDS, "request_offsets": OFFSETS},
            {"batch": 2, "experts": 4},
            "expert_ids has id 7, outside 0..3",
        ),
        (
            {"expert_ids": IDS, "request_offsets": OFFSETS},
            {"batch": 2, "layers_first": True},
            "no --layers-first",
        ),
        ({"counts": np.array([[[None]]])}, {}, "no readable .npz file: Object arrays"),
    ],
)
def test_bad_content_names_file_and_value(tmp_path, arrays, options, message):
    """What does not fit is refused in one line that names file, array and value."""
    path = _npz(tmp_path / "bad.npz", **arrays)
    with pytest.raises(FileError, match=message) as error:
        read_routing(path, **options)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_truncated_and_foreign_files_are_refused(tmp_path):
    """A cut archive, an empty file, text and other suffixes are refused."""
    whole = _npz(tmp_path / "whole.npz", counts=COUNTS).read_bytes()
    for name, data in (
        ("cut.npz", whole[: len(whole) // 2]),
        ("empty.npz", b""),
        ("text.npz", b"hello"),
        ("cut.safetensors", b"\x00" * 4),
        ("table.csv", b"1,2"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(FileError, match=name):
            read_routing(path)
    np.save(tmp_path / "plain.npy", COUNTS)
    (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    with pytest.raises(FileError, match="is one array"):
        read_routing(tmp_path / "plain.npz")
    with pytest.raises(OSError, match=r"missing\.npz"):
        read_routing(tmp_path / "missing.npz")


def test_options_for_tokens_are_refused_for_own_traces(tmp_path):
    """A trace of ours takes neither a batch nor another order of axes."""
    path = tmp_path / "a.trace.safetensors"
    save_trace(RoutingTrace.from_arrays(COUNTS), path)
    for options in ({"batch": 2}, {"layers_first": True}, {"steps": 3}):
        with pytest.raises(FileError, match=r"a\.trace\.safetensors"):
            read_routing(path, **options)
