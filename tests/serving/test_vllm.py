"""What vLLM asks of a policy, in the forms of vLLM 0.10, 0.13 and 0.33."""

import logging
import sys
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gemopt.engines.vllm.policy import GemoptPolicy, rebalance_experts  # noqa: E402
from gemopt.serving import guard  # noqa: E402

README_WEIGHT = [
    [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
]
README_PHY2LOG = [
    [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
    [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
]


def call(weight, *numbers, old=None):
    """Call as vLLM does, with six positional arguments, and check the contract."""
    weight = torch.tensor(weight)
    phy2log = GemoptPolicy.rebalance_experts(weight, *numbers, old)
    assert phy2log.device.type == "cpu" and phy2log.dtype == torch.int64
    assert phy2log.shape == (len(weight), numbers[0])
    for row in phy2log.tolist():
        assert set(row) == set(range(weight.shape[1]))
    return phy2log


def copies(phy2log, experts):
    return torch.stack([torch.bincount(row, minlength=experts) for row in phy2log])


def test_published_example_bit_for_bit():
    """DeepSeek's README example comes out exactly."""
    assert call(README_WEIGHT, 16, 4, 2, 8).tolist() == README_PHY2LOG


def test_one_gpu_holds_everything():
    """A single rank gets all experts."""
    call([[10, 20, 30, 40]], 4, 1, 1, 1)


def test_equal_loads_without_spare_slots():
    """Eight slots for eight equal experts: each once."""
    assert copies(call([[50] * 8], 8, 2, 2, 4), 8).eq(1).all()


@pytest.mark.parametrize(
    ("weight", "numbers", "hottest"),
    [
        ([[1000, 1, 1, 1, 1, 1, 1, 1]], (12, 2, 2, 4), [0]),
        ([[100, 50, 200, 75, 150, 25, 300, 80]], (12, 4, 2, 4), [6]),
        (
            [[200, 150, 100, 50, 25, 12], [12, 25, 50, 100, 150, 200]],
            (10, 3, 1, 2),
            [0, 5],
        ),
    ],
)
def test_hottest_expert_gets_a_second_copy(weight, numbers, hottest):
    """Spare slots go to the hottest expert of each layer."""
    found = copies(call(weight, *numbers), len(weight[0]))
    for layer, expert in enumerate(hottest):
        assert found[layer, expert] >= 2
        assert found[layer, expert] == found[layer].max()


def test_several_layers():
    """Layers are placed each by its own loads."""
    weight = [[10, 20, 30, 40, 50, 60], [60, 50, 40, 30, 20, 10], [25] * 6]
    call(weight, 8, 2, 2, 4)


def test_groups_that_hosts_do_not_divide_are_placed_globally():
    """Three groups on two hosts: the global method, no error."""
    call([[10, 20, 30, 40, 50, 60]], 8, 3, 2, 4)
    call([[10, 20, 30, 40]], 8, 3, 2, 4)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((7, 2, 2, 4), "equally many slots per rank"),
        ((4, 1, 1, 4), "a slot for each of 6 experts"),
        ((8, 4, 2, 4), "groups must divide 6"),
        ((9, 2, 2, 3), "nodes must divide ranks"),
    ],
)
def test_numbers_that_do_not_divide(numbers, message):
    """An AssertionError, as vLLM's tests expect, that says which numbers."""
    with pytest.raises(AssertionError, match=message):
        GemoptPolicy.rebalance_experts(torch.ones(1, 6), *numbers)


@pytest.mark.parametrize("experts", [16, 24])
def test_large_call(experts):
    """24 slots on 8 ranks of 4 hosts."""
    rng = np.random.default_rng(0)
    call(rng.permutation(1000)[:experts][None].tolist(), 24, 8, 4, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_weights_on_the_gpu():
    """A CUDA tensor is taken; the answer is on the CPU."""
    weight = torch.tensor([[10, 20, 30, 40]], device="cuda")
    assert GemoptPolicy.rebalance_experts(weight, 6, 2, 1, 2).device.type == "cpu"


@pytest.mark.parametrize(
    ("ranks", "old", "new"),
    [
        (2, [0, 1, 2, 3, 4, 5, 6, 7], [1, 5, 0, 4, 6, 2, 7, 3]),
        (2, [0, 1, 0, 2, 3, 4, 5, 6, 1, 2], [0, 5, 4, 0, 1, 6, 2, 3, 2, 1]),
        (3, [0, 1, 2, 3] * 3, [0] * 8 + [1, 2, 3, 0]),
    ],
)
def test_experts_that_stay_keep_their_slot(ranks, old, new):
    """On each rank: the same experts, and those that stay at their first old slot."""
    old, new = np.array([old]), np.array([new])
    got = GemoptPolicy.preserve_intragpu_slots(new, ranks, old)
    assert got.shape == new.shape
    for before, after, kept in zip(
        np.split(old[0], ranks),
        np.split(new[0], ranks),
        np.split(got[0], ranks),
        strict=True,
    ):
        assert sorted(kept) == sorted(after)
        for expert in set(before) & set(after):
            assert kept[list(before).index(expert)] == expert


@pytest.mark.parametrize(("ranks", "slots"), [(0, 4), (3, 4), (2, 6)])
def test_slots_that_do_not_match_are_left(ranks, slots):
    """Other numbers of slots or ranks: returned as it is."""
    new = np.arange(4)[None]
    old = np.arange(slots)[None] % 4
    assert GemoptPolicy.preserve_intragpu_slots(new, ranks, old) is new


def test_slots_stay_in_place_when_nothing_changes():
    """The same loads again move nothing."""
    first = call(README_WEIGHT, 16, 4, 2, 8)
    shuffled = first.reshape(2, 8, 2).flip(2).reshape(2, 16)
    assert call(README_WEIGHT, 16, 4, 2, 8, old=shuffled).equal(shuffled)


@pytest.mark.parametrize("old", [torch.full((2, 16), -1), torch.zeros(2, 14).long()])
def test_placement_after_elastic_scaling(old):
    """Unused slots or another number of them: placed anew."""
    assert call(README_WEIGHT, 16, 4, 2, 8, old=old).tolist() == README_PHY2LOG


def test_failure_keeps_the_old_placement_and_logs_once(monkeypatch, caplog):
    """Whatever fails inside: no exception, the old placement, one log entry."""

    def broken(request, config):
        raise RuntimeError("solver fell over")

    monkeypatch.setattr(guard, "place", broken)
    old = torch.arange(16).repeat(2, 1) % 12
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert call(README_WEIGHT, 16, 4, 2, 8, old=old).equal(old)
    assert caplog.text.count("solver fell over") >= 1
    assert len(caplog.records) == 1
    assert call(README_WEIGHT, 16, 4, 2, 8).tolist() == README_PHY2LOG


def test_everything_fails(monkeypatch):
    """Even DeepSeek's method failing leaves a valid placement."""

    def broken(*arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(guard, "place", broken)
    monkeypatch.setattr(guard, "deepseek_placement", broken)
    assert call([[1, 2, 3, 4]], 6, 1, 1, 2).tolist() == [[0, 1, 2, 3, 0, 1]]


def test_bad_options_do_not_raise(monkeypatch, caplog):
    """An option that is wrong is logged; DeepSeek's placement is the answer."""
    monkeypatch.setenv("GEMOPT_MIN_GAIN", "lots")
    with caplog.at_level(logging.ERROR):
        assert call(README_WEIGHT, 16, 4, 2, 8).tolist() == README_PHY2LOG
    assert "GEMOPT_MIN_GAIN = 'lots'" in caplog.text


def test_minimum_gain_keeps_a_placement_that_is_good_enough(monkeypatch):
    """Below the minimum gain the old placement stays, above it the new one comes."""
    weight = [[100, 90, 10, 10]]
    old = torch.tensor([[0, 2, 1, 3]])  # 110 against 100, best is 110 as well
    bad = torch.tensor([[0, 1, 2, 3]])  # 190 against 20
    monkeypatch.setenv("GEMOPT_MIN_GAIN", "0.2")
    assert call(weight, 4, 1, 1, 2, old=old).equal(old)
    assert not call(weight, 4, 1, 1, 2, old=bad).equal(bad)
    monkeypatch.setenv("GEMOPT_MIN_GAIN", "0.5")
    assert call(weight, 4, 1, 1, 2, old=bad).equal(bad)


def test_float_loads_are_deepseeks_too():
    """Fractions and huge weights go to DeepSeek's method as they are."""
    weight = (np.array(README_WEIGHT) / 7 * 1e-3).tolist()
    assert call(weight, 16, 4, 2, 8).tolist() == README_PHY2LOG


def abstract_module(annotation):
    """Stand in for vLLM's abstract class with the given return annotation."""
    module = types.ModuleType("vllm.distributed.eplb.policy.abstract")

    class AbstractEplbPolicy:
        def rebalance_experts(cls):
            raise NotImplementedError

    AbstractEplbPolicy.rebalance_experts.__annotations__["return"] = annotation
    module.AbstractEplbPolicy = AbstractEplbPolicy
    return module


@pytest.mark.parametrize(
    ("annotation", "maps"),
    [
        (torch.Tensor, 1),
        ("torch.Tensor", 1),
        (tuple[torch.Tensor, torch.Tensor, torch.Tensor], 3),
        ("tuple[torch.Tensor, torch.Tensor, torch.Tensor]", 3),
    ],
)
def test_return_type_follows_the_abstract_class(monkeypatch, annotation, maps):
    """vLLM 0.13 announces three maps, 0.33 one."""
    module = abstract_module(annotation)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    weight = torch.tensor(README_WEIGHT)
    answer = GemoptPolicy.rebalance_experts(weight, 16, 4, 2, 8)
    if maps == 1:
        assert answer.tolist() == README_PHY2LOG
    else:
        require_three_maps(answer)


def test_function_of_old_versions():
    """The function of vLLM 0.10 returns three maps, log2phy as wide as it was."""
    require_three_maps(rebalance_experts(torch.tensor(README_WEIGHT), 16, 4, 2, 8))


def require_three_maps(maps):
    phy2log, log2phy, logcnt = maps
    assert phy2log.tolist() == README_PHY2LOG
    assert log2phy.shape == (2, 12, 5) and logcnt.shape == (2, 12)
    for layer in range(2):
        for expert in range(12):
            slots = [s for s in log2phy[layer, expert].tolist() if s >= 0]
            assert len(slots) == logcnt[layer, expert]
            assert all(README_PHY2LOG[layer][slot] == expert for slot in slots)
