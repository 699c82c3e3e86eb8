"""What `import gemopt` gives: every door, and objects that print in a line."""

import subprocess
import sys

import numpy as np
import pytest

import gemopt
from gemopt.files.errors import FileError
from gemopt.files.shipped import profile_names, profile_path
from gemopt.run.bases import BaseSolver
from gemopt.run.registry import entries
from gemopt.words import did_you_mean


@pytest.fixture(scope="module")
def instance():
    """Two layers of four experts."""
    return gemopt.load("tiny-affine-e4-g2")


@pytest.mark.parametrize("name", sorted(gemopt._MODULES))
def test_submodules_need_no_import(name):
    """In a fresh process each public submodule is there after `import gemopt`."""
    code = f"import gemopt; print(gemopt.{name}.__name__)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip().endswith(name), run.stderr


@pytest.mark.parametrize("name", sorted(entries()))
def test_options_are_at_the_face(name):
    """Options of every installed solver come without importing `gemopt_solvers`."""
    if not entries()[name].installed:
        with pytest.raises(ValueError, match="not installed"):
            gemopt.params(name)
        return
    cls = gemopt.params(name)
    assert cls() is not None
    if cls.__name__ == f"{name.title()}Params":
        assert getattr(gemopt, cls.__name__) is cls


def test_unknown_options():
    """Options of no solver are an AttributeError."""
    with pytest.raises(AttributeError, match="NoneParams"):
        _ = gemopt.NoneParams


def test_texts_are_short(instance):
    """Sizes come first, numbers of arrays never."""
    result = gemopt.solve(instance, "lpt")
    cost = gemopt.evaluate(instance, result.placement)
    trace = gemopt.RoutingTrace(instance.counts, name="mine")
    assert repr(instance) == (
        "<Instance 'tiny-affine-e4-g2': 2 layers, 4 experts, 2 GPUs, 4 slots, 8 steps>"
    )
    assert repr(result.placement) == "<Placement 2 layers, 4 slots, 2 GPUs>"
    assert repr(trace) == "<RoutingTrace 'mine': 2 layers, 4 experts, 8 steps>"
    for each in (instance, result, result.placement, cost, trace):
        assert len(repr(each)) < 200
        assert "\n" not in repr(each)
        assert "<code>" in each._repr_html_()
    assert str(instance) == repr(instance)


def test_a_trace_needs_counts_alone(instance):
    """Layers count from 0, steps weigh 1, and bad counts are refused."""
    trace = gemopt.RoutingTrace(instance.counts)
    assert trace.layer_ids.tolist() == [0, 1]
    assert trace.weights.tolist() == [1.0] * 8
    assert not trace.counts.flags.writeable
    with pytest.raises(ValueError, match="negative"):
        gemopt.RoutingTrace([[[-1, 2]]])


def test_from_trace(instance):
    """One profile stands for all GPUs; one number of slots is dealt evenly."""
    trace = gemopt.RoutingTrace(instance.counts).summed(2)
    profile = gemopt.load_profile(profile_path("H100/Qwen3-30B-A3B"))
    made = gemopt.Instance.from_trace(trace, profile, gpus=2, slots=5)
    assert made.slots.tolist() == [3, 2]
    assert made.gpu_names == (f"{profile.name}-0", f"{profile.name}-1")
    assert (made.counts[0] == instance.counts[:2].sum(axis=0)).all()
    model = gemopt.latency.affine(1, 2)
    plain = gemopt.Instance.from_trace(trace, [model, model])
    assert plain.slots.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profiles": []}, "profiles is empty"),
        ({"gpus": 3, "profiles": 2}, "gpus = 3"),
        ({"gpus": 0}, "gpus = 0"),
        ({"topology": "nvlink-host"}, "per-token ids"),
        ({"slots": 3}, "fewer than 4 experts"),
    ],
)
def test_from_trace_refuses(instance, options, message):
    """What does not fit is named."""
    model = gemopt.latency.affine(1, 2)
    if "topology" in options:
        options = {"topology": gemopt.topology(options["topology"])}
    profiles = options.pop("profiles", model) if "profiles" in options else model
    profiles = [model] * profiles if isinstance(profiles, int) else profiles
    trace = gemopt.RoutingTrace(instance.counts)
    with pytest.raises(ValueError, match=message):
        gemopt.Instance.from_trace(trace, profiles, **{"gpus": 2, **options})


def test_moves_count_what_a_gpu_fetches():
    """Exchanges within a GPU are free, a new expert or a further copy counts once."""
    slots = np.array([2, 2])
    here = gemopt.Placement(np.array([[0, 1, 2, 3]]), slots)
    assert here.moves_from(gemopt.Placement(np.array([[1, 0, 3, 2]]), slots)) == 0
    assert here.moves_from(gemopt.Placement(np.array([[0, 2, 1, 3]]), slots)) == 2
    assert here.moves_from(gemopt.Placement(np.array([[0, 1, 2, 0]]), slots)) == 1
    with pytest.raises(ValueError, match="other has"):
        here.moves_from(gemopt.Placement(np.array([[0, 1, 2, 3]]), np.array([1, 3])))


def test_improvements_as_columns(instance, monkeypatch):
    """Columns need nothing; a frame without pandas says what to install."""
    trace = gemopt.solve(instance, "gem", iterations=2).trace
    assert trace.columns()["best"] == [point.best for point in trace.points]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        trace.to_frame()


def test_is_optimal(instance):
    """A proof makes a result optimal."""
    assert gemopt.solve(instance, "bnb").is_optimal
    assert not gemopt.solve(instance, "linear").is_optimal


def test_shipped_profiles():
    """Every shipped profile is found by its name, and a wrong name gets the nearest."""
    for name, path in profile_names().items():
        assert profile_path(name.upper()) == path
    with pytest.raises(FileError, match="did you mean 'h100/qwen3-30b-a3b'"):
        profile_path("h100/Qwen3")


def test_did_you_mean():
    """Near words and beginnings are offered, others not; capitals do not matter."""
    assert did_you_mean("SGLang", ["vllm", "sglang"]) == "; did you mean 'sglang'?"
    assert did_you_mean("Qwen3", ["Qwen3-30B-A3B", "DeepSeek-V3"]).count("Qwen3-30B")
    assert did_you_mean("zzz", ["vllm"]) == ""


def test_a_base_solver_is_enough():
    """A solver file needs a name, a summary and what it does."""

    class Mine(gemopt.run.OnePlacement):
        """Experts in reverse."""

        name, summary = "mine", "reverse"

        def place(self, instance, seed):
            rows = np.tile(
                np.arange(instance.num_slots)[::-1], (instance.num_layers, 1)
            )
            experts = rows % instance.num_experts
            return gemopt.run.Outcome(gemopt.Placement(experts, instance.slots))

    assert issubclass(Mine, BaseSolver)
    gemopt.testing.check_solver(Mine, gemopt.testing.contract_instances()[:3])
