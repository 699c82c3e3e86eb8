"""A latency family of another package, found through its entry point."""

import importlib
import json
import sys

import numpy as np
import pytest

import gemopt
from gemopt.bounds.lower_bound import lower_bound
from gemopt.files.latency_doc import dump_latency
from gemopt.files.latency_file import read_latency
from gemopt.files.profile_file import Profile, ProfilePoint, load_profile, save_profile
from gemopt.latency import LatencyModel, Regimes, affine, families
from gemopt.latency.averaged import averaged
from gemopt_gpu_bench.fit.choose import Samples, fit_all

MODULE = '''
from dataclasses import dataclass
import numpy as np
from gemopt.latency import LatencyModel, Line
from gemopt.latency.base import LINE, Row

@dataclass(frozen=True)
class Warm(LatencyModel):
    """A start, and a time for each token."""
    start_us: float
    token_us: float

    def us(self, shares, step_tokens=None):
        return self.start_us + self.token_us * np.asarray(shares, float).sum(axis=-1)

    def rows(self):
        return (Row(LINE, lines=(Line(self.start_us, per_token_us=self.token_us),)),)

    def to_json(self):
        return {"start_us": self.start_us, "token_us": self.token_us}

    @classmethod
    def from_json(cls, fields):
        return cls(**fields)

    @staticmethod
    def fit(counts, us, tile):
        tokens = np.asarray(counts).sum(axis=1)
        slope, start = np.polyfit(tokens, us, 1)
        return Warm(float(start), float(slope))
'''


@pytest.fixture
def warm(tmp_path, monkeypatch):
    """The class `Warm` of an installed package that is not ours."""
    names = ["warm = warm_models:Warm", "broken = warm_models:Nothing"]
    site = tmp_path / "site"
    info = site / "warm_models-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "warm_models.py").write_text(MODULE)
    (info / "METADATA").write_text("Name: warm-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(["[gemopt.latency]", *names]))
    monkeypatch.syspath_prepend(str(site))
    families.third_party.cache_clear()
    yield importlib.import_module("warm_models").Warm
    sys.modules.pop("warm_models")
    families.third_party.cache_clear()


@pytest.fixture
def instance(warm):
    """Six experts on two GPUs of the family and one of ours."""
    counts = np.random.default_rng(0).integers(0, 90, (5, 2, 6))
    models = [warm(3.0, 0.5), warm(4.0, 0.75), affine(1.0, 0.5)]
    return gemopt.Instance.from_arrays(counts, models, slots=2)


@pytest.mark.parametrize("solver", ["lpt", "search", "bnb", "cpsat"])
def test_solved_and_bounded(instance, solver):
    """Solvers place it, and every bound is below what they find."""
    found = gemopt.solve(instance, solver, stop=gemopt.MaxIterations(5))
    assert found.placement is not None
    assert found.objective == gemopt.evaluate(instance, found.placement).objective
    for effort in ("none", "quick"):
        bound = lower_bound(instance, effort).value
        assert 0 < bound <= found.objective * (1 + 1e-9)


def test_saved_and_loaded(instance, warm, tmp_path):
    """Instance and placement files keep it, also inside of regimes."""
    gemopt.save(instance, tmp_path / "a.json")
    assert gemopt.load(tmp_path / "a.json").latency == instance.latency
    model = Regimes([(10, warm(1.0, 2.0)), (20, affine(1.0, 1.0))])
    (tmp_path / "m.json").write_text(json.dumps(dump_latency(model)))
    assert read_latency(tmp_path / "m.json") == [model]


def test_profiled(warm, tmp_path):
    """`gemopt profile` fits it beside ours, and profile files keep it."""
    counts = np.arange(1, 13)[:, None] * np.array([[16, 48]])
    us = 7.0 + 0.25 * counts.sum(axis=1)
    samples = Samples(counts, counts.mean(axis=1), us)
    fits = fit_all(
        samples, samples, samples.where(us < 0),
        limits=[np.inf], table=None, total=2, curves={},
    )  # fmt: skip
    (mine,) = [fit.model for fit in fits if fit.family == "warm"]
    assert (mine.start_us, mine.token_us) == (pytest.approx(7.0), pytest.approx(0.25))
    point = ProfilePoint((16, 48), (23.0,), {})
    profile = Profile("p", {}, {}, {}, {}, (point,), (), mine)
    save_profile(profile, tmp_path / "p.profile.json")
    assert load_profile(tmp_path / "p.profile.json").latency == mine


def test_averaged(warm):
    """The average over a window needs nothing of the family."""
    model = averaged(warm(3.0, 0.5), 4)
    assert model.us([8.0, 8.0]) == pytest.approx(3.0 + 0.5 * 4)
    assert model.rows()[0].lines[0].per_token_us == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"kind": "cold"}, "kind = 'cold' is unknown; known: token_curve, .*warm"),
        ({"kind": "broken"}, "kind = 'broken': warm_models:Nothing cannot be imported"),
        ({"kind": "warm", "start_us": 1.0}, "kind = 'warm': .*token_us"),
    ],
)
def test_what_is_wrong_is_one_line(warm, tmp_path, document, message):
    """Files with families that are unknown, broken or misused name them."""
    path = tmp_path / "m.json"
    path.write_text(json.dumps(document))
    with pytest.raises(gemopt.FileError, match=message) as error:
        read_latency(path)
    assert "\n" not in str(error.value)


def test_a_class_without_entry_point_is_named(tmp_path):
    """What cannot be written is refused, with what to do, before a file is touched."""

    class Odd(LatencyModel):
        def us(self, shares, step_tokens=None):
            return np.ones(np.shape(shares)[:-1])

        def rows(self):
            return affine(1.0, 0.0).rows()

    instance = gemopt.Instance.from_arrays(np.ones((1, 1, 2)), [Odd()])
    with pytest.raises(ValueError, match=r"Odd has no document .*group gemopt\.lat"):
        gemopt.save(instance, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
