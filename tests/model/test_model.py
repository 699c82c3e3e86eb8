"""`Instance` and `Placement`: what they refuse, slice and promise."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.arrays import MAX_STEP_TOKENS
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement, slot_owner
from tests.strategies import instances, placements

LINES = [affine(1, 1), affine(2, 1)]


def build(counts=None, latency=None, **options):
    """A 3-step, 2-layer, 4-expert, 2-GPU instance with something replaced."""
    counts = np.ones((3, 2, 4), int) if counts is None else counts
    return Instance.from_arrays(
        counts, LINES if latency is None else latency, **options
    )


def with_value(value):
    """Counts with one odd value at [1, 0, 2]."""
    counts = np.ones((3, 2, 4))
    counts[1, 0, 2] = value
    return counts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"counts": np.ones((2, 3))}, "counts has 2 dimensions, needs 3"),
        ({"counts": np.ones((0, 2, 4))}, "zero steps"),
        ({"counts": np.ones((3, 0, 4))}, "zero layers"),
        ({"counts": np.ones((3, 2, 0))}, "zero experts"),
        ({"counts": with_value(-1)}, "counts[1, 0, 2] = -1 is negative"),
        ({"counts": with_value(1.5)}, "counts[1, 0, 2] = 1.5 is no whole number"),
        ({"counts": with_value(math.nan)}, "counts[1, 0, 2] = nan"),
        ({"counts": with_value(math.inf)}, "counts[1, 0, 2] = inf"),
        ({"counts": with_value(2.0**63)}, "beyond 2**62"),
        ({"counts": with_value(MAX_STEP_TOKENS)}, "counts[1, 0] sums to"),
        ({"counts": [[["a"]]]}, "counts has type"),
        ({"counts": [[[1, 2]], [[1]]]}, "unequal length"),
        ({"latency": []}, "latency is empty"),
        ({"latency": [affine(1, 1), 3.0]}, "latency[1] = 3.0 is no latency model"),
        ({"latency": [affine(1, 1)] * 3}, "4 experts do not divide by 3 GPUs"),
        ({"slots": [2, 2, 2]}, "slots has 3 values for 2 latency models"),
        ({"slots": [5, -1]}, "negative"),
        ({"slots": [2, 1]}, "slots sums to 3, fewer than 4 experts"),
        ({"slots": [5, 1]}, "would hold an expert twice"),
        ({"slots": [2.5, 2]}, "slots[0] = 2.5"),
        ({"node": [0]}, "node has 1 values"),
        ({"node": [0, -1]}, "node = [0, -1] has a negative value"),
        ({"layer_ids": [1, 1]}, "layer_ids = [1, 1] must all differ"),
        ({"layer_ids": [1]}, "layer_ids has 1 values"),
        ({"weights": [1, 1]}, "weights has shape (2,)"),
        ({"weights": [1, -1, 1]}, "weights"),
        ({"weights": [1, math.nan, 1]}, "weights"),
        ({"weights": [0, 0, 0]}, "weights are all zero"),
        ({"gpu_names": ["a"]}, "gpu_names has 1 names for 2 GPUs"),
    ],
)
def test_refusals(arguments, message):
    """Wrong input raises ValueError naming the argument and the value."""
    with pytest.raises(ValueError) as caught:
        build(**arguments)
    assert message in str(caught.value)


def test_largest_step_is_taken():
    """A step of exactly the largest number of assignments is no overflow."""
    counts = np.zeros((1, 1, 2), np.int64)
    counts[0, 0] = MAX_STEP_TOKENS // 2
    assert build(counts).step_tokens[0, 0] == MAX_STEP_TOKENS


def test_arrays_are_read_only_copies():
    """Nothing in an instance can be written, nor does it share the caller's memory."""
    counts = np.ones((3, 2, 4), np.int64)
    slots = np.array([2, 2])
    instance = build(counts, slots=slots)
    counts[:] = 7
    slots[:] = 0
    assert instance.counts.max() == 1
    assert instance.slots.tolist() == [2, 2]
    for name in ("loads", "counts", "slots", "node", "layer_ids", "weights"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(instance, name)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        instance.name = "x"


def test_defaults():
    """Equal slots, one host, ids from 0, weights 1 and names of GPUs."""
    instance = build()
    assert instance.slots.tolist() == [2, 2]
    assert instance.node.tolist() == [0, 0]
    assert instance.layer_ids.tolist() == [0, 1]
    assert instance.weights.tolist() == [1, 1, 1]
    assert instance.gpu_names == ("gpu0", "gpu1")
    assert (instance.num_steps, instance.num_layers) == (3, 2)
    assert (instance.num_experts, instance.num_gpus, instance.num_slots) == (4, 2, 4)


def test_gpu_classes():
    """GPUs with equal latency models share a class, in order of appearance."""
    latency = [affine(2, 1), affine(1, 1), affine(2, 1), affine(1, 1)]
    assert build(latency=latency).gpu2class.tolist() == [0, 1, 0, 1]


@given(st.data())
def test_slices(data):
    """Steps and layers slice counts, weights and ids, and keep the rest."""
    instance = data.draw(instances(max_layers=3))
    start = data.draw(st.integers(0, instance.num_steps - 1))
    stop = data.draw(st.integers(start + 1, instance.num_steps))
    part = instance.steps(start, stop)
    np.testing.assert_array_equal(part.counts, instance.counts[start:stop])
    np.testing.assert_array_equal(part.weights, instance.weights[start:stop])
    assert part.loads.flags.c_contiguous
    layer = instance.layer(instance.num_layers - 1)
    np.testing.assert_array_equal(layer.counts, instance.counts[:, -1:])
    np.testing.assert_array_equal(layer.layer_ids, instance.layer_ids[-1:])
    np.testing.assert_array_equal(part.step_tokens, part.counts.sum(axis=2).T)


def test_split():
    """A split by time cuts once; empty parts are refused."""
    counts = np.arange(24).reshape(6, 1, 4)
    seen, unseen = build(counts).split(0.5)
    np.testing.assert_array_equal(seen.counts, counts[:3])
    np.testing.assert_array_equal(unseen.counts, counts[3:])
    for fraction in (0.0, 1.0, 0.01):
        with pytest.raises(ValueError, match=f"fraction = {fraction}"):
            build(counts).split(fraction)
    with pytest.raises(ValueError, match="steps 2:2"):
        build(counts).steps(2, 2)


@pytest.mark.parametrize(
    ("phy2log", "slots", "message"),
    [
        ([0, 1], [2], "phy2log has 1 dimensions"),
        ([[0, 1]], [[2]], "slots has 2 dimensions"),
        ([[0, 1]], [1, 2], "phy2log has 2 slots but slots sums to 3"),
        ([[0, 0.5]], [2], "phy2log[0, 1] = 0.5 is no whole number"),
    ],
)
def test_placement_refusals(phy2log, slots, message):
    """Shapes that do not fit and fractions are refused with the value."""
    with pytest.raises(ValueError) as caught:
        Placement(phy2log, slots)
    assert message in str(caught.value)


@given(st.data())
def test_placement_views(data):
    """Owners, replicas and experts per GPU tell the same story; equality by value."""
    instance = data.draw(instances())
    placement = data.draw(placements(instance))
    assert placement == Placement(placement.phy2log.copy(), placement.slots.copy())
    assert hash(placement) == hash(Placement(placement.phy2log, placement.slots))
    assert placement != "placement"
    replicas = placement.replicas(instance.num_experts)
    for layer in range(instance.num_layers):
        held = placement.gpu2experts(layer)
        assert [len(part) for part in held] == instance.slots.tolist()
        flat = [e for part in held for e in part]
        assert flat == placement.phy2log[layer].tolist()
        assert np.bincount(flat, minlength=len(replicas[layer])).tolist() == (
            replicas[layer].tolist()
        )
    np.testing.assert_array_equal(placement.slot2gpu, slot_owner(instance.slots))
    assert not placement.phy2log.flags.writeable


def test_model_is_light():
    """`gemopt.model.instance` imports no solver and no heavy package."""
    code = (
        "import sys, gemopt.model.instance\n"
        "heavy = {'torch', 'ortools', 'sklearn', 'networkx', 'matplotlib', 'pydantic',"
        " 'typer', 'numba', 'solvers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr


def test_parts_share_what_follows_from_the_gpus():
    """Tables and classes are worked out once for an instance and all its parts."""
    instance = build()
    parts = [
        instance.layer(0),
        instance.steps(0, 1),
        instance.select(steps=[0]),
        instance.without_communication(),
        instance.with_loads(instance.loads, instance.weights),
    ]
    for part in parts:
        assert part.tables is instance.tables
        assert part.classes is instance.classes


def test_select_takes_steps_and_layers_in_order():
    """`select` picks positions, with the weights and ids that belong to them."""
    instance = build(weights=np.arange(1.0, 1.0 + build().num_steps))
    steps, layers = [instance.num_steps - 1, 0], [instance.num_layers - 1]
    part = instance.select(steps=steps, layers=layers)
    np.testing.assert_array_equal(
        part.counts, instance.counts[np.ix_(steps, layers, range(part.num_experts))]
    )
    assert part.weights.tolist() == instance.weights[steps].tolist()
    assert part.layer_ids.tolist() == instance.layer_ids[layers].tolist()


@pytest.mark.parametrize("steps", [[], [0, 0], [-1], [99], [0.5]])
def test_select_refuses(steps):
    """Nothing, repeats, positions outside and fractions are refused by name."""
    with pytest.raises(ValueError, match="steps"):
        build().select(steps=steps)


def test_classes_part_gpus_by_latency_and_slots():
    """GPUs of one class are equal in latency and slots, in order of appearance."""
    latency = [affine(1.0, 1.0)] * 3 + [affine(2.0, 1.0)]
    slots = np.array([3, 1, 3, 1])
    counts = np.ones((2, 1, 6), dtype=np.int64)
    instance = Instance.from_arrays(counts, latency, slots=slots, node=[7, 3, 7, 3])
    assert instance.classes.of_gpu.tolist() == [0, 1, 0, 2]
    assert instance.classes.members.tolist() == [2, 1, 1]
    assert instance.classes.slots.tolist() == [3, 1, 1]
    assert (instance.gpu2node.tolist(), instance.num_nodes) == ([1, 0, 1, 0], 2)


def test_one_latency_model_for_all():
    """One model is shared by the GPUs that `slots` lists, or refused in words."""
    shared = build(latency=affine(1, 1), slots=[2, 2])
    assert shared.latency == (affine(1, 1),) * 2
    for slots in (None, 8):
        with pytest.raises(ValueError, match=r"latency is one TokenCurve.*\* gpus"):
            build(latency=affine(1, 1), slots=slots)


def test_one_number_of_slots_for_all():
    """A single number of slots holds for every GPU."""
    assert build(slots=3).slots.tolist() == [3, 3]


def test_tensors_of_torch_are_taken():
    """Counts and weights may be bfloat16, on a graph, or of any integer type."""
    torch = pytest.importorskip("torch")
    plain = torch.arange(24).reshape(3, 2, 4)
    weights = torch.tensor([1.0, 2.0, 0.5])
    for counts in (plain, plain.bfloat16(), plain.float().requires_grad_()):
        instance = build(counts, weights=weights.bfloat16().requires_grad_())
        np.testing.assert_array_equal(instance.counts, plain.numpy())
        assert instance.weights.tolist() == [1.0, 2.0, 0.5]
