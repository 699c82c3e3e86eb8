"""Profiles of several GPUs in one file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import gemopt
from gemopt.files.profile_set import load_profiles, save_profiles
from gemopt.latency import TileActive
from tests.files.test_profile_file import profile


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    """One profile or several come back as they were, in order."""
    one = profile(TileActive(base_us=1.0))
    other = replace(one, name="gpu4")
    for given in ((one,), (one, other)):
        path = tmp_path / f"{len(given)}.profile.json"
        save_profiles(given, path)
        assert load_profiles(path) == given
    assert gemopt.load_profile(tmp_path / "1.profile.json") == one
    with pytest.raises(ValueError, match="profiles is empty"):
        save_profiles([], tmp_path / "0.profile.json")


def test_points_stay_on_one_line(tmp_path: Path) -> None:
    """A point with much beside it takes one line, so that files stay small."""
    path = tmp_path / "x.profile.json"
    one = profile(TileActive(base_us=1.0))
    point = replace(one.points[0], extra={"note": "x" * 200})
    save_profiles([replace(one, points=(point,))], path)
    assert sum("x" * 200 in line for line in path.read_text().splitlines()) == 1
    assert load_profiles(path)[0].points == (point,)


def test_broken_sets_name_the_field(tmp_path: Path) -> None:
    """An empty set and a broken profile inside are refused with their place."""
    path = tmp_path / "x.profile.json"
    save_profiles([profile(TileActive(base_us=1.0))] * 2, path)
    document = json.loads(path.read_text())
    document["profiles"][1]["points"][0]["counts"] = []
    path.write_text(json.dumps(document))
    with pytest.raises(gemopt.FileError, match=r"profiles\[1\]\.points\[0\]\.counts"):
        load_profiles(path)
    path.write_text(json.dumps(document | {"profiles": []}))
    with pytest.raises(gemopt.FileError, match="profiles"):
        load_profiles(path)
