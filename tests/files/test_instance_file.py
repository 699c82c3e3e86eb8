"""Instance files: reading gives back what was written, inline and with a sidecar."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.files import comm_doc
from gemopt.files.digest import instance_digest
from gemopt.model.communication import Communication
from gemopt.model.tokens import TokenRouting
from gemopt.model.topology import topology
from tests import strategies


def same(a: gemopt.Instance, b: gemopt.Instance) -> bool:
    """Tell whether two instances are equal in every field."""
    arrays = ("loads", "slots", "node", "layer_ids", "weights")
    rest = ("latency", "name", "gpu_names", "provenance", "comm")
    return all(
        np.array_equal(getattr(a, f), getattr(b, f))
        and getattr(a, f).dtype == getattr(b, f).dtype
        for f in arrays
    ) and all(getattr(a, f) == getattr(b, f) for f in rest)


@given(strategies.instances(), st.sampled_from([None, True, False]))
def test_reading_gives_back_what_was_written(tmp_path_factory, instance, inline):
    """save then load is the identity, for every latency family and both forms."""
    path = tmp_path_factory.mktemp("io") / "x.json"
    gemopt.save(instance, path, inline=inline)
    again = gemopt.load(path)
    assert same(instance, again)
    assert instance_digest(instance) == instance_digest(again)


@given(strategies.instances(), st.booleans())
def test_same_instance_gives_the_same_bytes(tmp_path_factory, instance, inline):
    """Writing what was read gives the same bytes, in document and sidecar."""
    folder = tmp_path_factory.mktemp("io")
    (folder / "a").mkdir(), (folder / "b").mkdir()
    gemopt.save(instance, folder / "a" / "x.json", inline=inline)
    gemopt.save(gemopt.load(folder / "a" / "x.json"), folder / "b" / "x.json", inline)
    written = {p.name: p.read_bytes() for p in (folder / "a").iterdir()}
    assert written == {p.name: p.read_bytes() for p in (folder / "b").iterdir()}
    assert len(written) == (1 if inline else 2)


def small(**changes) -> gemopt.Instance:
    """Two steps, one layer, four experts on two GPUs."""
    counts = changes.pop("counts", [[[1, 2, 3, 4]], [[4, 3, 2, 1]]])
    latency = changes.pop("latency", [gemopt.latency.affine(1.0, 0.5)] * 2)
    return gemopt.Instance.from_arrays(counts, latency, **changes)


def test_small_traces_are_inline_and_large_ones_are_not(tmp_path):
    """The form follows the size when the caller does not say."""
    gemopt.save(small(), tmp_path / "small.json")
    gemopt.save(small(counts=np.ones((9000, 2, 4), int)), tmp_path / "large.json")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["large.json", "large.trace.safetensors", "small.json"]


def test_inline_counts_take_one_line_a_step(tmp_path):
    """People can read and diff a small trace."""
    counts = np.arange(40).reshape(5, 2, 4)
    gemopt.save(small(name="tiny", counts=counts), tmp_path / "x.json")
    lines = [line.strip() for line in (tmp_path / "x.json").read_text().splitlines()]
    assert "[[8, 9, 10, 11], [12, 13, 14, 15]]," in lines
    assert '"name": "tiny",' in lines
    assert '"format": "gemopt-instance",' in lines


@pytest.mark.parametrize(
    "changes",
    [
        {"counts": [[[1, 2, 3, 5]], [[4, 3, 2, 1]]]},
        {"weights": [1.0, 2.0]},
        {"slots": [3, 1]},
        {"node": [0, 1]},
        {"layer_ids": [3]},
        {"latency": [gemopt.latency.affine(1.0, 0.5), gemopt.latency.affine(1.0, 0.6)]},
    ],
)
def test_digest_sees_everything_that_changes_the_question(changes):
    """Counts, weights, slots, nodes, layer ids and latency each change the digest."""
    assert instance_digest(small(**changes)) != instance_digest(small())


def test_digest_ignores_labels():
    """Name, GPU names and provenance are for people."""
    named = small(name="x", gpu_names=["a", "b"], provenance={"source": "y"})
    assert instance_digest(named) == instance_digest(small())


def test_failed_save_leaves_nothing(tmp_path):
    """Provenance that JSON cannot hold is refused before a file is touched."""
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        gemopt.save(small(provenance={"x": object()}), tmp_path / "x.json", False)
    assert list(tmp_path.iterdir()) == []


def test_sidecar_must_match_its_hash(tmp_path):
    """A changed sidecar is refused, with both hashes' file named."""
    path = tmp_path / "x.json"
    gemopt.save(small(), path, inline=False)
    gemopt.save(small(counts=[[[9, 9, 9, 9]]]), tmp_path / "y.json", inline=False)
    (tmp_path / "y.trace.safetensors").rename(tmp_path / "x.trace.safetensors")
    with pytest.raises(gemopt.FileError, match=r"x\.json: trace\.sha256 = "):
        gemopt.load(path)


def test_sidecar_may_not_lie_elsewhere(tmp_path):
    """A document cannot point outside its own folder."""
    path = tmp_path / "x.json"
    gemopt.save(small(), path, inline=False)
    document = json.loads(path.read_text())
    document["trace"]["file"] = "../x.trace.safetensors"
    path.write_text(json.dumps(document))
    with pytest.raises(gemopt.FileError, match=r"must lie beside this file"):
        gemopt.load(path)


def test_sizes_must_agree_with_the_trace(tmp_path):
    """`experts` and `steps` are checked against the counts."""
    path = tmp_path / "x.json"
    gemopt.save(small(), path)
    text = path.read_text()
    path.write_text(text.replace('"experts": 4', '"experts": 5'))
    with pytest.raises(gemopt.FileError, match=r"experts = 5, but the trace has 4"):
        gemopt.load(path)


def communicating(with_routing: bool) -> gemopt.Instance:
    """Two steps of four tokens, two layers, four experts on two hosts."""
    ids = np.array([[[0, 1], [2, 3]], [[1, 2], [3, 0]]] * 4)
    routing = TokenRouting.from_arrays(ids, [0, 4, 8])
    comm = Communication.from_routing(
        routing, topology("400g-hosts"), num_experts=4, hidden=64, overlap=0.5
    )
    return gemopt.Instance.from_arrays(
        routing.counts(4),
        [gemopt.latency.affine(1.0, 0.5)] * 2,
        node=[0, 1],
        comm=comm if with_routing else replace(comm, routing=None),
    )


@pytest.mark.parametrize("with_routing", [True, False])
def test_communication_comes_back(tmp_path, with_routing):
    """Links, sizes, pairs and per-token routing survive; cost and digest are equal."""
    instance = communicating(with_routing)
    gemopt.save(instance, tmp_path / "x.json")
    again = gemopt.load(tmp_path / "x.json")
    assert again.comm is not None
    assert (again.comm.routing is not None) == with_routing
    assert instance_digest(again) == instance_digest(instance)
    placement = gemopt.solve(instance, "linear").placement
    cost = gemopt.evaluate(instance, placement).objective
    assert gemopt.evaluate(again, placement).objective == cost
    for name, array in comm_doc.arrays(instance.comm).items():
        assert np.array_equal(comm_doc.arrays(again.comm)[name], array)


def test_digest_sees_communication():
    """Dropping the per-token ids, or all communication, changes the question."""
    exact, paired = communicating(True), communicating(False)
    digests = {instance_digest(i) for i in (exact, paired, replace(exact, comm=None))}
    assert len(digests) == 3


def test_communication_needs_its_sidecar(tmp_path):
    """A missing sidecar is named."""
    gemopt.save(communicating(True), tmp_path / "x.json")
    (tmp_path / "x.comm.safetensors").unlink()
    with pytest.raises(gemopt.FileError, match=r"communication\.file = .* is missing"):
        gemopt.load(tmp_path / "x.json")
