"""Instances by name."""

import pytest

import gemopt
from gemopt.files.catalog import read_catalog, write_catalog
from gemopt.files.sha256 import file_sha256
from tests.files.test_instance_file import small


@pytest.fixture
def root(tmp_path):
    """A folder of two instances and a placement."""
    (tmp_path / "tiny").mkdir()
    for name in ("alpha", "beta"):
        instance = small(name=name, provenance={"summary": f"the {name}"})
        gemopt.save(instance, tmp_path / "tiny" / f"{name}.json")
    (tmp_path / "best").mkdir()
    placement = gemopt.solve(instance, "linear").placement
    gemopt.save_placement(
        placement, tmp_path / "best" / "beta.placement.json", instance
    )
    write_catalog(tmp_path)
    return tmp_path


def test_names_resolve(root, monkeypatch):
    """A name is looked up in the given folder, then in the environment's."""
    assert gemopt.load("alpha", instances=root).name == "alpha"
    monkeypatch.setenv("GEMOPT_INSTANCES", str(root))
    assert gemopt.load("beta").name == "beta"


def test_names_resolve_in_the_working_folder(root, monkeypatch):
    """Without a folder, ./instances is the place."""
    monkeypatch.delenv("GEMOPT_INSTANCES", raising=False)
    root.rename(root.parent / "instances")
    monkeypatch.chdir(root.parent)
    assert gemopt.load("alpha").name == "alpha"


def test_entries_give_size_and_hash(root):
    """The catalogue says how large each instance is, and what its bytes are."""
    entry = read_catalog(root).instances[0]
    assert (entry.gpus, entry.experts, entry.slots, entry.layers) == (2, 4, 4, 1)
    assert (entry.steps, entry.summary) == (2, "the alpha")
    assert entry.latency == ["token_curve"]
    assert entry.sha256 == file_sha256(root / entry.path)


def test_unknown_names_give_the_nearest_one(root):
    """A typing error is met with a suggestion."""
    with pytest.raises(gemopt.FileError, match="'alpah'; did you mean 'alpha'"):
        gemopt.load("alpah", instances=root)


def test_no_catalogue_says_what_to_do(tmp_path):
    """A name without a catalogue names the options."""
    with pytest.raises(gemopt.FileError, match=r"catalog\.json: is missing"):
        gemopt.load("alpha", instances=tmp_path)


def test_names_are_unique(root):
    """Two files cannot claim the same name."""
    (root / "tiny" / "gamma.json").write_bytes(
        (root / "tiny" / "alpha.json").read_bytes()
    )
    with pytest.raises(gemopt.FileError, match=r"gamma\.json: name = 'alpha'"):
        write_catalog(root)
