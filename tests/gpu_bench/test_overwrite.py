"""Profiles are not written over those of another device or model."""

from dataclasses import replace
from pathlib import Path

import pytest

from gemopt.files.profile_file import Profile, load_profile, save_profile
from gemopt.latency import affine
from gemopt_gpu_bench.hosts.ranks import Alone
from gemopt_gpu_bench.profile.options import Options
from gemopt_gpu_bench.profile.run import prepare

OWN = Options(hidden=32, intermediate=48, experts=4, max_tokens=64, device="cpu")


@pytest.mark.parametrize(
    ("device", "model", "refused"),
    [
        ("NVIDIA H100", "32x48", True),
        ("CPU", "DeepSeek-V3", True),
        ("CPU", "32x48", False),
    ],
)
def test_only_the_same_card_and_model_are_replaced(
    tmp_path: Path, device: str, model: str, refused: bool
) -> None:
    """Another card's or model's file is refused before anything is measured."""
    path = tmp_path / "h100.profile.json"
    old = Profile(
        "x", {"name": device}, {"model": model}, {}, {}, (), (), affine(1.0, 1.0)
    )
    save_profile(old, path)
    options = replace(OWN, output=path)
    if refused:
        with pytest.raises(ValueError, match=rf"h100\.profile\.json: holds .*{model}"):
            prepare(options, Alone())
        options = replace(options, force=True)
    assert len(prepare(options, Alone())[1]) == 1
    assert load_profile(path) == old
