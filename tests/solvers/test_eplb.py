"""DeepSeek's EPLB: the published example, an independent twin, and the wrapper."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gemopt
from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.parts.eplb import eplb_phy2log

WEIGHT = [
    [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
]
PHY2LOG = [
    [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
]
LOGCNT = [
    [1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1],
    [1, 2, 1, 1, 1, 2, 2, 1, 2, 1, 1, 1],
]


def test_published_example():
    """The README example of DeepSeek's EPLB comes out exactly."""
    phy2log, log2phy, logcnt = eplb_phy2log(WEIGHT, 16, 4, 2, 8)
    np.testing.assert_array_equal(phy2log, PHY2LOG)
    np.testing.assert_array_equal(logcnt, LOGCNT)
    assert log2phy.shape == (2, 12, 2)
    assert log2phy[0, 1].tolist() == [15, 13]  # by order of creation, not by slot
    assert log2phy[0, 0].tolist() == [12, -1]
    assert {a.dtype for a in (phy2log, log2phy, logcnt)} == {np.dtype(np.int64)}


def pack(weights, packs):
    """(pack, rank) of each item: largest first to the lightest pack with room."""
    room = len(weights) // packs
    if room == 1:
        return [(i, 0) for i in range(packs)]
    load, count = [np.float32(0)] * packs, [0] * packs
    places = [(0, 0)] * len(weights)
    for item in sorted(range(len(weights)), key=lambda i: (-weights[i], i)):
        free = [p for p in range(packs) if count[p] < room]
        chosen = min(free, key=lambda p: (load[p], p))
        places[item] = (chosen, count[chosen])
        load[chosen] += weights[item]
        count[chosen] += 1
    return places


def twin(weight, slots, groups, nodes, gpus):
    """One layer of EPLB in plain Python, from its description."""
    if groups % nodes:
        groups = nodes = 1
    weight = np.asarray(weight, dtype=np.float32)
    size = len(weight) // groups
    total = [
        weight[g * size : (g + 1) * size].sum(dtype=np.float32) for g in range(groups)
    ]
    hosts = [[] for _ in range(nodes)]
    for group, (host, rank) in enumerate(pack(total, nodes)):
        hosts[host].append((rank, group))
    placed, per_gpu = [], slots // gpus
    for host in hosts:
        experts = [g * size + i for _, g in sorted(host) for i in range(size)]
        copies = {e: 1 for e in experts}
        physical = list(experts)
        while len(physical) < slots // nodes:
            hottest = max(experts, key=lambda e: weight[e] / np.float32(copies[e]))
            physical.append(hottest)
            copies[hottest] += 1
        share = [weight[e] / np.float32(copies[e]) for e in physical]
        row = [-1] * len(physical)
        for expert, (gpu, rank) in zip(
            physical, pack(share, gpus // nodes), strict=True
        ):
            row[gpu * per_gpu + rank] = expert
        placed += row
    return placed


@st.composite
def shapes(draw):
    """Sizes that divide: (experts, slots, groups, nodes, gpus)."""
    nodes = draw(st.sampled_from([1, 2, 3]))
    groups = draw(st.sampled_from([1, nodes, 2 * nodes, 5]))
    experts = groups * draw(st.integers(1, 5))
    gpus = nodes * draw(st.integers(1, 3))
    slots = gpus * (-(-experts // gpus) + draw(st.integers(0, 2)))
    return experts, slots, groups, nodes, gpus


@given(shapes(), st.integers(0, 2**32 - 1), st.sampled_from([4, 2**20]))
def test_equals_the_twin(shape, seed, highest):
    """Global and hierarchical placements equal a plain-Python twin, ties included."""
    experts, *rest = shape
    weight = np.random.default_rng(seed).integers(0, highest, (3, experts))
    phy2log, log2phy, logcnt = eplb_phy2log(weight, *rest)
    np.testing.assert_array_equal(phy2log, [twin(row, *rest) for row in weight])
    for layer, row in enumerate(phy2log):
        np.testing.assert_array_equal(
            np.bincount(row, minlength=experts), logcnt[layer]
        )
        for expert in range(experts):
            slots = log2phy[layer, expert]
            np.testing.assert_array_equal(
                np.sort(slots[slots >= 0]), np.flatnonzero(row == expert)
            )


def test_one_slot_per_gpu_is_the_identity():
    """With one slot a GPU, and no spare slot, experts stay in order."""
    phy2log, _, _ = eplb_phy2log([[3, 1, 2, 9]], 4, 1, 1, 4)
    assert phy2log.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1, 2]], 3, 1, 1, 2), "replicas by GPUs do not divide: 3 by 2"),
        (([[1, 2]], 1, 1, 1, 1), "num_replicas = 1 is less than 2 experts"),
        (([[1, 2, 3]], 4, 2, 2, 2), "experts by groups do not divide: 3 by 2"),
        (([[1, 2]], 3, 2, 2, 3), "GPUs by nodes do not divide: 3 by 2"),
        (([1, 2], 2, 1, 1, 1), "weight has shape (2,)"),
    ],
)
def test_refusals(arguments, message):
    """Numbers that do not divide are refused with both."""
    with pytest.raises(ValueError) as caught:
        eplb_phy2log(*arguments)
    assert message in str(caught.value)


def example(weight, slots, node):
    """The published weights as an instance of one step."""
    lines = [affine(1, 1)] * len(node)
    return Instance.from_arrays([weight], lines, slots=[slots] * len(node), node=node)


def test_solver_equals_the_example():
    """Solver `eplb` with four groups on two hosts gives the published placement."""
    instance = example(WEIGHT, 2, [0] * 4 + [1] * 4)
    result = gemopt.solve(instance, "eplb", params={"groups": 4})
    np.testing.assert_array_equal(result.placement.phy2log, PHY2LOG)
    assert result.stats == {"slots_repaired": 0}


def test_solver_repairs_second_copies():
    """Where EPLB puts an expert twice on a GPU few slots move, and are counted."""
    rng = np.random.default_rng(4)
    weight = np.floor(rng.lognormal(5, 1.5, (40, 16)))
    instance = example(weight, 5, [0, 0, 0, 0])
    raw, _, _ = eplb_phy2log(weight, 20, 1, 1, 4)
    twice = sum(len(set(part)) < 5 for row in raw for part in np.split(row, 4))
    assert twice > 0
    result = gemopt.solve(instance, "eplb")
    changed = int((raw != result.placement.phy2log).sum())
    assert result.stats["slots_repaired"] == changed
    assert 0 < changed <= 4 * twice
    same = [
        i
        for i, row in enumerate(raw)
        if all(len(set(p)) == 5 for p in np.split(row, 4))
    ]
    np.testing.assert_array_equal(raw[same], result.placement.phy2log[same])


@pytest.mark.parametrize(
    ("options", "params", "reason"),
    [
        ({"slots": [3, 1]}, {}, "needs equal slots"),
        ({"slots": [2, 2]}, {"groups": 3}, "groups = 3 do not divide 4 experts"),
        ({"slots": [2, 1, 1], "gpus": 3}, {}, "needs equal slots"),
        ({"node": [0, 1, 0, 1], "gpus": 4}, {"groups": 2}, "equal blocks of GPUs"),
        ({"node": [0, 0, 0, 1], "gpus": 4}, {"groups": 2}, "equal blocks of GPUs"),
    ],
)
def test_unsupported(options, params, reason):
    """Unequal slots, and groups or hosts that do not divide, are refused."""
    gpus = options.pop("gpus", 2)
    instance = Instance.from_arrays(
        np.ones((1, 1, 4), int), [affine(1, 1)] * gpus, **options
    )
    with pytest.raises(ValueError, match=reason):
        gemopt.solve(instance, "eplb", params=params)


def test_groups_must_be_positive():
    """A number of groups below 1 is refused."""
    with pytest.raises(ValueError, match="groups = 0"):
        gemopt.solve(example(WEIGHT, 2, [0] * 8), "eplb", params={"groups": 0})
