"""Entry points: silent unless asked for, then in place in vLLM, SGLang, vllm-ascend.

Tests on the engines' own loaders need a folder with the packages of their wheels
unpacked, named by ``GEMOPT_WHEELS`` when pytest starts: ``vllm`` (0.33), ``sglang``
(0.5), ``vllm-0.13.0`` and ``vllm-0.10.0``.
"""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from gemopt.engines.ascend.policy import GemoptAscendPolicy  # noqa: E402
from gemopt.engines.sglang import policy as sglang  # noqa: E402
from gemopt.engines.vllm import policy as vllm  # noqa: E402
from gemopt.serving import plugin  # noqa: E402
from tests.serving.test_vllm import README_PHY2LOG, README_WEIGHT  # noqa: E402

ROOT = Path(__file__).parents[2]
WHEELS = os.environ.get("GEMOPT_WHEELS", "")


def entry_point(group):
    """Our entry point of a group as pyproject.toml declares it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ((name, value),) = project["entry-points"][group].items()
    return importlib.metadata.EntryPoint(name, value, group)


@pytest.fixture
def on(monkeypatch):
    """Ask for the policy."""
    monkeypatch.setenv("GEMOPT_POLICY", "1")


@pytest.fixture
def bit_for_bit(monkeypatch):
    """Ask for the engine's own answer, second copies on a rank included."""
    monkeypatch.setenv("GEMOPT_BIT_FOR_BIT", "1")


@pytest.fixture
def modules(monkeypatch):
    """Put stand-in modules in place; everything of the engines goes afterwards."""

    def add(name, path=None, **contents):
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = [] if path is None else [str(path)]
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    before = set(sys.modules)
    yield add
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("vllm", "vllm_ascend", "sglang"):
            del sys.modules[name]


def test_entry_points_lead_to_the_functions():
    """pyproject.toml declares both groups."""
    assert entry_point("vllm.general_plugins").load() is plugin.register_vllm
    assert entry_point("sglang.srt.plugins").load() is plugin.register_sglang


def test_nothing_happens_unless_asked_for():
    """Without ``GEMOPT_POLICY`` nothing heavy is imported and nothing changed."""
    code = (
        "import sys; from gemopt.serving import plugin;"
        "plugin.register_vllm(); plugin.register_sglang();"
        "heavy = {'torch', 'numba', 'numpy', 'vllm', 'sglang'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    environment = {k: v for k, v in os.environ.items() if "GEMOPT" not in k}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)


def fake_vllm(modules):
    for name in ("vllm", "vllm.distributed", "vllm.distributed.eplb"):
        modules(name)


def test_vllm_policy_is_replaced(on, modules):
    """The dictionary that vLLM looks policies up in holds ours, however often."""
    fake_vllm(modules)
    name = "vllm.distributed.eplb.policy"
    policy = modules(name, EPLB_POLICIES={"default": object})
    plugin.register_vllm()
    plugin.register_vllm()
    assert {"default": vllm.GemoptPolicy} == policy.EPLB_POLICIES


@pytest.mark.parametrize("imported", [False, True])
def test_vllm_function_is_replaced(on, modules, imported):
    """vLLM 0.10: the function, and the name that eplb_state has bound to it."""
    fake_vllm(modules)
    algorithm = modules("vllm.distributed.eplb.rebalance_algo", rebalance_experts=min)
    bound = {"rebalance_experts": min}
    name = "vllm.distributed.eplb.eplb_state"
    state = modules(name, **bound) if imported else None
    plugin.register_vllm()
    assert algorithm.rebalance_experts is vllm.rebalance_experts
    if state is not None:
        assert state.rebalance_experts is vllm.rebalance_experts


def test_vllm_without_expert_balancing(on, modules):
    """A vLLM that has no EPLB gives one clear line."""
    modules("vllm")
    with pytest.raises(ValueError, match="this vLLM has no expert balancing"):
        plugin.register_vllm()


@pytest.mark.parametrize("arguments", [(2,), (3, object())])
def test_ascend_factory_is_replaced(on, modules, arguments):
    """Both forms of vllm-ascend's factory make our policy, whatever the number."""
    fake_vllm(modules)
    modules("vllm.distributed.eplb.policy", EPLB_POLICIES={})

    class PolicyFactory:
        @staticmethod
        def generate_policy(policy_type):
            raise NotImplementedError

    package = "vllm_ascend"
    modules(package)
    for part in ("eplb", "core", "policy"):
        package += f".{part}"
        modules(package)
    modules(f"{package}.policy_factory", PolicyFactory=PolicyFactory)
    plugin.register_vllm()
    assert isinstance(PolicyFactory.generate_policy(*arguments), GemoptAscendPolicy)


def test_bad_options_stop_the_start(on, modules, monkeypatch, tmp_path):
    """A wrong option or a profile that is missing is an error at start-up."""
    fake_vllm(modules)
    default = object()
    policies = {"default": default}
    modules("vllm.distributed.eplb.policy", EPLB_POLICIES=policies)
    monkeypatch.setenv("GEMOPT_PROFILE", str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match=r"none\.json: cannot read"):
        plugin.register_vllm()
    monkeypatch.setenv("GEMOPT_PROFILE", "")
    monkeypatch.setenv("GEMOPT_MOVE_BUDGET", "-3")
    with pytest.raises(ValueError, match="GEMOPT_MOVE_BUDGET"):
        plugin.register_vllm()
    assert policies == {"default": default}


def engine(name):
    """Folder of an engine's package, or skip."""
    folder = Path(WHEELS) / name
    if not WHEELS or not folder.is_dir():
        pytest.skip(f"GEMOPT_WHEELS names no folder with the {name} package")
    return folder


@pytest.fixture
def vllm_wheel(modules, monkeypatch):
    """vLLM's loader and policy package from its wheel; the rest are stand-ins."""
    folder = engine("vllm")
    modules("vllm", folder)
    modules("vllm.envs", VLLM_PLUGINS=None)
    modules("vllm.distributed", folder / "distributed")
    modules("vllm.distributed.eplb", folder / "distributed" / "eplb")
    modules("vllm.config")
    modules("vllm.config.parallel", EPLBPolicyOption=Literal["default"])
    patch_entry_points(monkeypatch)
    return folder


def patch_entry_points(monkeypatch):
    """As if gemopt were installed with today's pyproject.toml, and nothing else."""

    installed = importlib.metadata.entry_points

    def entry_points(*, group=None):
        ours = ("vllm.general_plugins", "sglang.srt.plugins")
        if group is None:  # numba looks for its extensions
            return installed()
        return [entry_point(group)] if group in ours else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_vllm_loads_our_plugin(on, vllm_wheel):
    """vLLM's own loader puts the policy in the place where EplbState looks."""
    from vllm.distributed.eplb import policy
    from vllm.plugins import load_general_plugins

    default = policy.EPLB_POLICIES["default"]
    assert default is policy.DefaultEplbPolicy
    load_general_plugins()
    ours = policy.EPLB_POLICIES["default"]
    assert ours is vllm.GemoptPolicy
    weight = torch.tensor(README_WEIGHT)
    assert ours.rebalance_experts(weight, 16, 4, 2, 8, None).tolist() == README_PHY2LOG


def test_vllm_is_left_alone_unless_asked(vllm_wheel):
    """The same loader without ``GEMOPT_POLICY``: vLLM's policy stays."""
    from vllm.distributed.eplb import policy
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    assert policy.EPLB_POLICIES["default"] is policy.DefaultEplbPolicy


@pytest.mark.usefixtures("bit_for_bit")
@pytest.mark.parametrize("seed", range(20))
def test_same_placement_as_vllm(vllm_wheel, seed):
    """Without ties both policies agree in every slot, with an old placement too."""
    from vllm.distributed.eplb.policy import DefaultEplbPolicy

    rng = np.random.default_rng(seed)
    weight = torch.tensor(rng.permutation(100_000)[: 3 * 64].reshape(3, 64))
    numbers = [(72, 8, 2, 8), (64, 1, 1, 8), (80, 4, 4, 16), (128, 3, 2, 4)][seed % 4]
    theirs = DefaultEplbPolicy.rebalance_experts(weight, *numbers)
    assert vllm.GemoptPolicy.rebalance_experts(weight, *numbers).equal(theirs)
    old = torch.arange(numbers[0]).repeat(3, 1) % 64
    theirs = DefaultEplbPolicy.rebalance_experts(weight, *numbers, old)
    assert vllm.GemoptPolicy.rebalance_experts(weight, *numbers, old).equal(theirs)


def require_equal_maps(ours, theirs):
    """Equal but for the order in which copies of an expert are listed."""
    assert ours[0].equal(theirs[0]) and ours[2].equal(theirs[2])
    assert ours[1].shape == theirs[1].shape
    assert ours[1].sort(dim=2).values.equal(theirs[1].sort(dim=2).values)


@pytest.mark.usefixtures("bit_for_bit")
@pytest.mark.parametrize("seed", range(4))
def test_same_maps_as_vllm_0_13(on, modules, seed):
    """vLLM 0.13: five arguments, and the three maps that its abstract class names."""
    folder = engine("vllm-0.13.0")
    modules("vllm", folder)
    modules("vllm.distributed", folder / "distributed")
    modules("vllm.distributed.eplb", folder / "distributed" / "eplb")
    modules("vllm.config")
    modules("vllm.config.parallel", EPLBPolicyOption=Literal["default"])
    from vllm.distributed.eplb import policy

    plugin.register_vllm()
    ours = policy.EPLB_POLICIES["default"]
    assert ours is vllm.GemoptPolicy
    weight = torch.tensor(np.random.default_rng(seed).permutation(999)[None, :32])
    theirs = policy.DefaultEplbPolicy.rebalance_experts(weight, 40, 4, 2, 8)
    require_equal_maps(ours.rebalance_experts(weight, 40, 4, 2, 8), theirs)


@pytest.mark.usefixtures("bit_for_bit")
@pytest.mark.parametrize("seed", range(4))
def test_same_maps_as_vllm_0_10(on, modules, seed):
    """vLLM 0.10: a function of five arguments."""
    folder = engine("vllm-0.10.0")
    modules("vllm", folder)
    modules("vllm.distributed", folder / "distributed")
    modules("vllm.distributed.eplb", folder / "distributed" / "eplb")
    from vllm.distributed.eplb import rebalance_algo

    original = rebalance_algo.rebalance_experts
    plugin.register_vllm()
    ours = rebalance_algo.rebalance_experts
    assert ours is vllm.rebalance_experts
    weight = torch.tensor(np.random.default_rng(seed).permutation(999)[None, :32])
    theirs = original(weight, 40, 4, 2, 8)
    require_equal_maps(ours(weight, 40, 4, 2, 8), theirs)


@pytest.fixture
def sglang_wheel(modules, monkeypatch):
    """SGLang's plugin framework and algorithms from its wheel."""
    folder = engine("sglang")
    modules("sglang", folder)
    modules("sglang.srt", folder / "srt")
    modules("sglang.srt.eplb", folder / "srt" / "eplb")
    patch_entry_points(monkeypatch)
    from sglang.srt.plugins.hook_registry import HookRegistry

    yield folder
    HookRegistry.reset()


def sglang_call(package, counts, algorithm, **changes):
    """Call as SGLang's `init_by_eplb` does: everything by keyword."""
    arguments = {
        "tokens_per_expert": torch.tensor(counts),
        "num_physical_experts": 16,
        "num_local_physical_experts": 2,
        "num_groups": 4,
        "num_nodes": 2,
        "algorithm": package.EplbAlgorithm[algorithm],
    }
    return package.rebalance_experts(**(arguments | changes))


def test_sglang_loads_our_plugin(on, sglang_wheel, monkeypatch):
    """SGLang's own loader wraps its function; the elastic algorithms stay its own."""
    from sglang.srt.eplb import eplb_algorithms
    from sglang.srt.plugins import load_plugins

    original = eplb_algorithms.rebalance_experts
    counts = [README_WEIGHT]
    theirs = sglang_call(eplb_algorithms, counts, "deepseek_hierarchical")
    load_plugins()
    assert eplb_algorithms.rebalance_experts is not original
    ours = sglang_call(eplb_algorithms, counts, "deepseek_hierarchical")
    assert ours[0].tolist() == README_PHY2LOG == theirs[0].tolist()
    assert ours[2].equal(theirs[2])
    seen = []
    monkeypatch.setattr(sglang, "rebalance_experts", lambda *a, **k: seen.append(k))
    sglang_call(eplb_algorithms, counts, "deepseek")
    assert len(seen) == 1
    with pytest.raises(ModuleNotFoundError) as missing:  # its own code asks for more
        sglang_call(eplb_algorithms, counts, "elasticity_aware")
    asked = [str(each.path) for each in missing.traceback]
    assert any(path.startswith(str(sglang_wheel)) for path in asked)
    assert len(seen) == 1


def test_sglang_is_left_alone_unless_asked(sglang_wheel):
    """The same loader without ``GEMOPT_POLICY``: SGLang's function stays."""
    from sglang.srt.eplb import eplb_algorithms
    from sglang.srt.plugins import load_plugins

    original = eplb_algorithms.rebalance_experts
    load_plugins()
    assert eplb_algorithms.rebalance_experts is original


@pytest.mark.usefixtures("bit_for_bit")
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("algorithm", ["deepseek", "deepseek_hierarchical"])
def test_same_placement_as_sglang(sglang_wheel, seed, algorithm):
    """One row without ties: SGLang's algorithm and ours agree in every slot."""
    from sglang.srt.eplb import eplb_algorithms as package

    rng = np.random.default_rng(seed)
    counts = rng.permutation(100_000)[: 2 * 64].reshape(1, 2, 64)
    sizes = {"num_physical_experts": 80, "num_local_physical_experts": 10}
    theirs = sglang_call(package, counts, algorithm, **sizes)
    numbers = {"num_groups": 4, "num_nodes": 2, **sizes}
    choice = package.EplbAlgorithm[algorithm]
    ours = sglang.rebalance_experts(torch.tensor(counts), algorithm=choice, **numbers)
    assert ours[0].equal(theirs[0]) and ours[2].equal(theirs[2])
