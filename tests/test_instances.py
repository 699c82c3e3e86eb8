"""Tests of the stored instances, the best known placements and their scripts."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.files.best_known import read_best_known
from gemopt.files.catalog import SOURCES, read_catalog
from gemopt.files.instance_file import read
from gemopt.files.placement_file import load_placement, read_placement
from gemopt.latency import LatencyModel, TileActive
from gemopt.model.instance import Instance
from gemopt.model.placement import Placement
from gemopt.run.result import PROOF_TOLERANCE, Status
from tests.brute_force import best_placement

ROOT = Path(__file__).parents[1] / "instances"
CATALOG = {entry.name: entry for entry in read_catalog(ROOT).instances}
BEST = read_best_known(ROOT)
#: Those whose placements brute force can count in a second or two.
COUNTABLE = ("tiny-affine-e4-g2", "tiny-affine-e6-g2-unequal", "tiny-step-e8-g2")
REBUILT = (
    "tiny-regimes-e12-g4", "real-b512-g8-s72-tiles", "paper-llama-4-scout-low",
    "profiled-qwen3-30b-a3b-b1984-s68",
)  # fmt: skip


def _models(family: str) -> set[type[LatencyModel]]:
    return {
        type(model)
        for name in CATALOG
        if name.startswith(family)
        for model in read(ROOT / CATALOG[name].path).latency
    }


def test_catalogue_lists_every_instance_and_best_known_too():
    """All files are in the catalogue, and every instance has a best known entry."""
    files = {path.stem for path in ROOT.glob("*/*.json")}
    placements = {n for n in files if n.endswith(".placement")}
    sources = {p.stem for source in SOURCES for p in ROOT.glob(f"{source}/*.json")}
    assert files - placements - sources == set(CATALOG)
    assert set(BEST) == set(CATALOG)
    assert {n.removesuffix(".placement") for n in placements} == {
        name for name, best in BEST.items() if best.value_us is not None
    }


@pytest.mark.parametrize("name", CATALOG)
def test_instance_is_as_the_catalogue_says(name):
    """An instance has the stated bytes and sizes, and says where it comes from."""
    entry = CATALOG[name]
    path = ROOT / entry.path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert path.parent.name == name.split("-")[0] and path.stem == name
    instance = read(path)
    found = (
        instance.num_gpus,
        instance.num_experts,
        instance.num_slots,
        instance.num_layers,
        instance.num_steps,
    )
    assert found == (
        entry.gpus,
        entry.experts,
        entry.slots,
        entry.layers,
        entry.steps,
    )
    assert {"summary", "source", "license"} <= set(instance.provenance)


@pytest.mark.parametrize("name", BEST)
def test_best_known_placement_costs_what_it_says(name):
    """A stored placement is feasible, made for this instance, and costs its value."""
    best = BEST[name]
    instance = read(ROOT / CATALOG[name].path)
    path = ROOT / "best" / f"{name}.placement.json"
    placement = load_placement(path, instance)
    objective = gemopt.evaluate(instance, placement).objective
    assert best.value_us == pytest.approx(objective, rel=1e-12)
    assert read_placement(path).objective_us == pytest.approx(objective, rel=1e-12)
    assert best.bound_us is not None
    assert best.bound_us <= objective * (1 + PROOF_TOLERANCE)
    proven = objective - best.bound_us <= PROOF_TOLERANCE * objective
    assert best.tag == ("opt" if proven else "best")
    assert best.provenance


@pytest.mark.parametrize("name", COUNTABLE)
def test_best_known_of_tiny_instances_meets_brute_force(name):
    """No placement is better than one that is called optimal, nor below a bound."""
    instance = read(ROOT / CATALOG[name].path)
    _, optimum = best_placement(instance)
    best = BEST[name]
    assert best.bound_us <= optimum * (1 + PROOF_TOLERANCE)
    assert best.value_us >= optimum * (1 - 1e-12)
    if best.tag == "opt":
        assert best.value_us == pytest.approx(optimum, rel=PROOF_TOLERANCE)


@pytest.mark.parametrize("name", [n for n, best in BEST.items() if best.tag == "opt"])
def test_what_is_called_optimal_is_proven_again(name):
    """A search over all placements ends at the stored value, without its help."""
    instance = read(ROOT / CATALOG[name].path)
    stored = load_placement(ROOT / "best" / f"{name}.placement.json", instance)
    if instance.num_experts > 12:  # a layer as a sample: a minute for all of them
        middle = instance.num_layers // 2
        stored = Placement(stored.phy2log[[middle]], stored.slots)
        instance = instance.layer(middle)
    result = gemopt.solve(instance, "bnb")
    assert result.status == Status.OPTIMAL
    cost = gemopt.evaluate(instance, stored).objective
    assert result.objective == pytest.approx(cost, rel=PROOF_TOLERANCE)


def test_files_are_made_anew_to_the_byte(tmp_path):
    """The committed script gives the committed bytes."""
    subprocess.run(
        [sys.executable, "-m", "instances.make", "--into", tmp_path, *REBUILT],
        cwd=ROOT.parent,
        check=True,
    )
    made = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.stem.split(".")[0] for path in made} == set(REBUILT)
    for path in made:
        stored = ROOT / path.relative_to(tmp_path)
        assert path.read_bytes() == stored.read_bytes(), path.name


def test_make_refuses_an_unknown_name(tmp_path):
    """A name without a recipe is refused before anything is written."""
    run = subprocess.run(
        [sys.executable, "-m", "instances.make", "--into", tmp_path, "real-b1"],
        cwd=ROOT.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0 and "no recipe for 'real-b1'" in run.stderr
    assert not list(tmp_path.iterdir())


def test_real_family_is_measured_routing_on_measured_curves():
    """Counts are the recorded ones, and the fits are within 5 % of the curves."""
    with np.load(ROOT / "measured" / "moe_lm_trace.npz", allow_pickle=False) as data:
        recorded = data["counts"].astype(np.int64).transpose(1, 0, 2)
    small = read(ROOT / "real" / "real-b64-g4-s64-tiles.json")
    np.testing.assert_array_equal(small.counts, recorded[16:])
    large = read(ROOT / "real" / "real-b512-g8-s72-curve.json")
    np.testing.assert_array_equal(large.counts[3], recorded[40:48].sum(axis=0))
    for path in (ROOT / "real").glob("*-tiles.json"):
        errors = read(path).provenance["mean_relative_error_of_fit"]
        assert max(errors) < 0.05


@pytest.mark.parametrize("gpus", [4, 8])
def test_fewer_sms_are_never_faster_in_large_batches(gpus):
    """GPUs with fewer SMs need longer for the fair load of the large batch."""
    for kind in ("curve", "tiles"):
        instance = read(ROOT / "real" / f"real-b512-g{gpus}-s64-{kind}.json")
        fair = np.full(64 // gpus, 64.0)  # tokens of each expert
        us = [float(model.us(fair)) for model in instance.latency]
        assert us[-1] > 1.05 * us[0]


def test_tiny_family_has_every_latency_family():
    """The small instances cover all latency models, replicas and unequal slots."""
    kinds = {model.__name__ for model in _models("tiny")}
    assert kinds == {"TokenCurve", "TileActive", "Roofline", "Regimes"}
    tiny = [read(ROOT / e.path) for n, e in CATALOG.items() if n.startswith("tiny")]
    assert any(i.num_slots > i.num_experts for i in tiny)
    assert any(len(set(i.slots.tolist())) > 1 for i in tiny)
    assert any((i.weights != 1).any() for i in tiny)
    assert all(4 <= i.num_experts <= 12 for i in tiny)
    assert TileActive in _models("real")


def test_paper_family_has_five_models_at_three_levels():
    """Fifteen instances on 4 GPUs; the slowest GPU falls behind with the level."""
    paper = {n: e for n, e in CATALOG.items() if n.startswith("paper")}
    assert len(paper) == 15 and {e.gpus for e in paper.values()} == {4}
    gaps = []
    for level in ("low", "medium", "high"):
        instance: Instance = read(ROOT / paper[f"paper-mixtral-8x7b-{level}"].path)
        us = [float(model.us(np.array([2048.0]))) for model in instance.latency]
        gaps.append(max(us) / min(us))
    assert 1.02 < gaps[0] < 1.04 and 1.12 < gaps[1] < 1.15 and 1.25 < gaps[2] < 1.28


@pytest.mark.parametrize(("profiles", "limit"), [(False, 15e6), (True, 6e6)])
def test_folder_stays_small(profiles, limit):
    """Instances together are below 15 MB, the raw points of profiles below 6 MB."""
    sizes = [
        path.stat().st_size
        for path in ROOT.rglob("*")
        if path.is_file() and (path.parent.name == "profiles") == profiles
    ]
    assert sum(sizes) < limit
