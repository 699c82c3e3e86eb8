"""Tests of serving steps made from per-token routing."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemopt.traffic import serving_steps, split_requests, sum_windows

LAYERS, TOP_K, EXPERTS = 2, 2, 8
TRACES = Path(
    os.environ.get("GEMOPT_TRACES", Path(__file__).parents[3] / "shared" / "traces")
)


def _tokens(lengths: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    scores = rng.random((offsets[-1], LAYERS, EXPERTS))
    return scores.argsort(axis=2)[:, :, :TOP_K].astype(np.uint8), offsets


def _twin(ids, offsets, batch, seed):
    """Serve requests with plain lists, one token after the other."""
    rng = np.random.default_rng(seed)
    filled = [i for i in range(len(offsets) - 1) if offsets[i] < offsets[i + 1]]
    queue = rng.permutation(np.array(filled)).tolist()
    running: list[list[int]] = []
    steps = []
    while len(running) == batch or queue:
        free = [p for p in range(batch) if p >= len(running) or not running[p]]
        for place in free:
            if not queue:
                return np.array(steps)
            request = queue.pop(0)
            todo = list(range(offsets[request], offsets[request + 1]))
            if not steps:
                todo = todo[
                    rng.integers(offsets[request], offsets[request + 1]) - todo[0] :
                ]
            running[place : place + 1] = [todo]
        count = np.zeros((LAYERS, EXPERTS), dtype=np.int64)
        for todo in running:
            for layer in range(LAYERS):
                for expert in ids[todo[0], layer]:
                    count[layer, expert] += 1
            del todo[0]
        steps.append(count)
    return np.array(steps)


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=12).filter(any),
    batch=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_steps_equal_a_plain_simulation(lengths, batch, seed):
    """Counts equal those of a simulation with lists, token by token."""
    ids, offsets = _tokens(lengths, seed)
    expected = _twin(ids, offsets, batch, seed)
    if not len(expected):
        with pytest.raises(ValueError, match=f"batch = {batch} never runs full"):
            serving_steps(ids, offsets, batch, experts=EXPERTS, seed=seed)
        return
    counts = serving_steps(ids, offsets, batch, experts=EXPERTS, seed=seed)
    np.testing.assert_array_equal(counts, expected)
    assert (counts.sum(axis=2) == batch * TOP_K).all()


def test_asked_number_of_steps_repeats_requests():
    """With a number of steps, requests are served again, each round in a new order."""
    ids, offsets = _tokens([3, 2, 4])
    counts = serving_steps(ids, offsets, 5, experts=EXPERTS, steps=40, seed=1)
    assert counts.shape == (40, LAYERS, EXPERTS)
    assert (counts.sum(axis=2) == 5 * TOP_K).all()
    # One place: all rounds after the first request hold every token once each.
    single = serving_steps(ids, offsets, 1, experts=EXPERTS, steps=90, seed=1)
    whole = np.zeros((LAYERS, EXPERTS), dtype=np.int64)
    for layer in range(LAYERS):
        whole[layer] = np.bincount(ids[:, layer].ravel(), minlength=EXPERTS)
    rounds = [single[start : start + 9].sum(axis=0) for start in range(81)]
    assert any((found == whole).all() for found in rounds)


def test_seed_repeats_and_differs():
    """One seed gives the same steps, another one others."""
    ids, offsets = _tokens([9] * 20)
    first, again, other = (
        serving_steps(ids, offsets, 4, experts=EXPERTS, seed=s) for s in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes()
    assert first.shape != other.shape or (first != other).any()


def test_first_steps_are_not_all_first_tokens():
    """The opening requests start at random tokens."""
    ids = np.zeros((400, 1, 1), dtype=np.uint8)
    offsets = np.arange(0, 401, 10)
    ids[offsets[:-1]] = 1  # the first token of a request
    counts = serving_steps(ids, offsets, 20, experts=2, steps=10, seed=0)
    assert counts[0, 0, 1] < 10
    assert counts[:, 0, 1].sum() > 0


def test_disjoint_requests_share_no_token():
    """Steps of one set of requests never count a token of the other set."""
    ids = np.zeros((60, 1, 1), dtype=np.uint8)
    offsets = np.arange(0, 61, 6)
    seen, unseen = split_requests(10, 0.4, seed=2)
    assert len(seen) == 4 and not set(seen) & set(unseen)
    assert sorted([*seen, *unseen]) == list(range(10))
    for request in unseen:
        ids[offsets[request] : offsets[request + 1]] = 1
    for requests, expert in ((seen, 0), (unseen, 1)):
        counts = serving_steps(
            ids, offsets, 3, experts=2, requests=requests, steps=25, seed=0
        )
        assert (counts[:, 0, expert] == 3).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch = 0 must be at least 1"),
        ({"batch": 9}, "batch = 9 never runs full with 3 requests"),
        ({"steps": 0}, "steps = 0"),
        ({"experts": 7}, "expert_ids has id 7, outside 0..6"),
        ({"requests": [3]}, "requests has 3, outside 0..2"),
        ({"requests": []}, "requests must be a list"),
        ({"request_offsets": [0, 3, 2, 12]}, "request_offsets must rise"),
        ({"request_offsets": [0, 3, 11]}, "from 0 to the 12 tokens"),
        ({"request_offsets": [0.0, 12.0]}, "request_offsets has type float64"),
        ({"expert_ids": np.zeros((12, 2), int)}, "expert_ids has shape"),
        ({"expert_ids": np.full((12, 1, 1), -1)}, "expert_ids has id -1"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    """Every bad argument is named with its value."""
    ids, offsets = _tokens([4, 4, 4])
    good = {"expert_ids": ids, "request_offsets": offsets, "batch": 2, "experts": 8}
    with pytest.raises(ValueError, match=message):
        serving_steps(**good | change)


def test_split_refuses_an_empty_set():
    """A fraction that leaves one side without requests is refused."""
    with pytest.raises(ValueError, match=r"fraction = 0.1 of 3 requests"):
        split_requests(3, 0.1)


def test_windows_sum_following_steps():
    """Windows add up whole groups of steps and drop the rest; totals stay."""
    counts = np.arange(7 * 2 * 3).reshape(7, 2, 3)
    windows = sum_windows(counts, 3)
    assert windows.shape == (2, 2, 3)
    np.testing.assert_array_equal(windows[1], counts[3] + counts[4] + counts[5])
    small = np.full((300, 1, 1), 255, dtype=np.uint8)
    assert sum_windows(small, 300)[0, 0, 0] == 255 * 300
    for width in (0, 8):
        with pytest.raises(ValueError, match=f"width = {width} must be in 1..7"):
            sum_windows(counts, width)


def test_recorded_traces_give_full_steps():
    """Recorded gpt-oss-20b requests give steps of 4 * batch choices in every layer."""
    path = TRACES / "gpt-oss-20b-expertfingerprinting" / "mmlu_test.npz"
    if not path.exists():
        pytest.skip(f"recorded traces are not here: {path.parent} (GEMOPT_TRACES)")
    with np.load(path, allow_pickle=False) as data:
        ids, offsets = data["expert_ids"], data["request_offsets"]
    counts = serving_steps(ids, offsets, 32, experts=32, seed=0)
    assert counts.shape[1:] == (24, 32) and len(counts) > 1000
    assert (counts.sum(axis=2) == 128).all()
    assert counts.max() <= 32
