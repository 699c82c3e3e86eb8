"""GPU profile files."""

import json

import pytest
from hypothesis import given

import gemopt
from gemopt.files.profile_file import Fit, Profile, ProfilePoint
from tests import strategies


def profile(latency) -> Profile:
    """A profile with two raw points and one fit."""
    return Profile(
        name="gpu3",
        device={"name": "NVIDIA H100", "sms": 132},
        shape={"hidden": 2048, "intermediate": 768, "experts": 2},
        backend={"name": "triton"},
        measurement={"seed": 0},
        points=(
            ProfilePoint((8, 8), (21.5, 21.75)),
            ProfilePoint((16, 0), (18.0,), {"phase": "validation"}),
        ),
        fits=(Fit(latency, {"median_error": 0.01, "max_error_us": 1.5}),),
        latency=latency,
    )


@given(strategies.latency_models())
def test_reading_gives_back_what_was_written(tmp_path_factory, latency):
    """save_profile then load_profile is the identity for every latency family."""
    path = tmp_path_factory.mktemp("profile") / "x.profile.json"
    gemopt.save_profile(profile(latency), path)
    assert gemopt.load_profile(path) == profile(latency)


def test_latency_documents_are_strict(tmp_path):
    """An unknown key in a latency document is refused, with its place."""
    path = tmp_path / "x.profile.json"
    gemopt.save_profile(profile(gemopt.latency.TileActive(base_us=1.0)), path)
    document = json.loads(path.read_text())
    document["fits"][0]["latency"]["colour"] = "red"
    path.write_text(json.dumps(document))
    message = r"fits\[0\]\.latency\.colour is no field"
    with pytest.raises(gemopt.FileError, match=message):
        gemopt.load_profile(path)


def test_points_need_samples(tmp_path):
    """A raw point without a time is refused."""
    path = tmp_path / "x.profile.json"
    gemopt.save_profile(profile(gemopt.latency.TileActive(base_us=1.0)), path)
    document = json.loads(path.read_text())
    document["points"][1]["samples_us"] = []
    path.write_text(json.dumps(document))
    with pytest.raises(gemopt.FileError, match=r"points\[1\]\.samples_us = \[\]"):
        gemopt.load_profile(path)
