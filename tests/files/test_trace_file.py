"""Routing trace files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import gemopt
from tests import strategies


@given(
    strategies.traffic(3, 2, 4),
    st.none() | st.lists(st.floats(0.5, 4.0), min_size=3, max_size=3),
    st.sampled_from([1, 1000, 2**20]),
)
def test_reading_gives_back_what_was_written(tmp_path_factory, counts, weights, scale):
    """save_trace then load_trace is the identity, and the bytes repeat."""
    trace = gemopt.RoutingTrace.from_arrays(
        counts * scale,
        layer_ids=[3, 7],
        weights=weights,
        name="t",
        provenance={"source": "s", "seed": 1, "nested": {"z": 1, "a": [1, 2]}},
    )
    folder = tmp_path_factory.mktemp("trace")
    gemopt.save_trace(trace, folder / "a")
    again = gemopt.load_trace(folder / "a")
    for field in ("counts", "layer_ids", "weights"):
        assert np.array_equal(getattr(trace, field), getattr(again, field))
        assert getattr(again, field).dtype == getattr(trace, field).dtype
    assert (again.name, again.provenance) == (trace.name, trace.provenance)
    gemopt.save_trace(again, folder / "b")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_small_counts_take_one_byte(tmp_path):
    """Counts are stored in the smallest type that holds them."""
    counts = np.full((100, 10, 10), 255)
    gemopt.save_trace(gemopt.RoutingTrace.from_arrays(counts), tmp_path / "t")
    assert (tmp_path / "t").stat().st_size < 10_000 + 500


def test_foreign_safetensors_files_are_refused(tmp_path):
    """A file without our header is not taken for a trace."""
    save_file({"counts": np.ones((1, 1, 2), np.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(gemopt.FileError, match="format is None, needs 'gemopt-trace'"):
        gemopt.load_trace(tmp_path / "x.safetensors")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100])
def test_other_bytes_are_refused(tmp_path, data):
    """Empty and foreign files give one line that names the file."""
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(gemopt.FileError, match=r"x\.safetensors: is no safetensors"):
        gemopt.load_trace(tmp_path / "x.safetensors")


def test_truncated_file_is_refused(tmp_path):
    """Half a file is not read."""
    path = tmp_path / "x.safetensors"
    gemopt.save_trace(gemopt.RoutingTrace.from_arrays(np.ones((4, 2, 8))), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(gemopt.FileError, match="is no safetensors file"):
        gemopt.load_trace(path)
