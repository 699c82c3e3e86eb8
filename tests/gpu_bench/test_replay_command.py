"""``gemopt replay`` on the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt import Instance
from gemopt.cli import main
from gemopt.latency import affine
from gemopt_gpu_bench.backends.tiles import default_table

SHAPE = ["--hidden", "32", "--intermediate", "48", "--device", "cpu"]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """An instance of 3 layers and two placements of it."""
    counts = np.random.default_rng(0).poisson(8, (12, 3, 6))
    instance = Instance.from_arrays(
        counts, [affine(5, 0.2), affine(5, 0.3)], layer_ids=[1, 2, 5], name="toy"
    )
    gemopt.save(instance, tmp_path / "toy.json")
    paths = [str(tmp_path / "toy.json")]
    for name in ("linear", "lpt"):
        result = gemopt.solve(instance, name)
        assert result.placement is not None
        path = tmp_path / f"{name}.placement.json"
        gemopt.save_placement(result.placement, path, instance, result=result)
        paths.append(str(path))
    return paths


def test_replay_writes_and_prints(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table, JSON on demand, and a file with everything."""
    out = tmp_path / "result.json"
    few = ["--steps", "2", "--repeats", "2", "--layers", "5,1"]
    assert main(["replay", *files, *SHAPE, *few, "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert "toy: 2 steps, 2 layers, 2 repeats; gains over linear" in text
    assert "lpt" in text and "95 % repeats" in text
    data = json.loads(out.read_text())
    assert np.shape(data["us"]) == (2, 2, 2, 2, 2)
    assert data["record"]["layers"] == [5, 1]
    assert data["record"]["settings"]["backend"] == "loop"
    args = ["--unseen", "0.25", "--steps", "99", "--layers", "2", "--repeats", "1"]
    assert main(["replay", *files, *SHAPE, *args, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["placements"]
    assert [row["placement"] for row in rows] == ["linear", "lpt"]
    assert rows[1]["improvement"][1] is None  # one repeat gives no interval


def test_other_routing_is_replayed(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--trace takes the place of the instance's steps; another shape is refused."""
    trace = tmp_path / "later.npz"
    counts = np.random.default_rng(1).poisson(50, (2, 3, 6))
    np.savez(trace, counts=counts)
    args = ["replay", *files, *SHAPE, "--repeats", "1", "--json", "--trace", str(trace)]
    assert main(args) == 0
    rows = json.loads(capsys.readouterr().out)["placements"]
    named = Instance.from_arrays(counts, [affine(5, 0.2), affine(5, 0.3)])
    placement = gemopt.load_placement(files[1])
    objective = gemopt.evaluate(named, placement).objective
    assert rows[0]["predicted_us"] == pytest.approx(objective)
    np.savez(trace, counts=counts[:, :2])
    assert main(args) == 2
    assert "has 2 layers of 6 experts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--device", "cpu"], "--profile is missing"),
        ([*SHAPE, "--steps", "0"], "--steps = 0"),
        ([*SHAPE, "--layers", "9"], "no layer 9"),
        ([*SHAPE, "--sm-limit", "many"], "--sm-limit = 'many'"),
        ([*SHAPE, "--sm-limit", "8,8"], "needs an NVIDIA GPU"),
        ([*SHAPE, "--mode", "warm"], "mode = 'warm'"),
        (["--device", "cpu", "--model", "Mixtral"], "model 'Mixtral' is unknown"),
    ],
)
def test_bad_options_are_one_clear_line(
    files: list[str],
    extra: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Usage errors name the option and the value."""
    assert main(["replay", *files, *extra]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_placements_of_other_instances_need_force(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in `gemopt check`: the digest must fit, or --force."""
    other = Instance.from_arrays(np.ones((2, 3, 6)), [affine(5, 0.2)] * 2)
    gemopt.save(other, tmp_path / "other.json")
    args = [str(tmp_path / "other.json"), *files[1:], *SHAPE, "--repeats", "1"]
    assert main(["replay", *args]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["replay", *args, "--force"]) == 0
    assert main(["replay", files[0], files[1], files[1], *SHAPE]) == 2
    assert "is named 'linear' too" in capsys.readouterr().err


def test_profile_gives_layer_backend_and_mode(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--profile says what ran when the instance's latency was measured."""
    from gemopt.files.profile_file import Profile, save_profile

    path = tmp_path / "cpu.profile.json"
    shape = {"hidden": 16, "intermediate": 24, "experts": 3, "total_experts": 6}
    model = affine(5, 0.2)
    backend = {"name": "loop", "tiles": default_table(3, 16, 24).to_json()}
    whole = Profile("CPU", {}, shape, backend, {"mode": "sustained"}, (), (), model)
    save_profile(whole, path)
    args = [*files, "--device", "cpu", "--profile", str(path), "--repeats", "1"]
    assert main(["replay", *args, "--json", "--steps", "1"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert (settings["hidden"], settings["intermediate"]) == (16, 24)
    assert (settings["backend"], settings["mode"]) == ("loop", "sustained")
    assert settings["table"] == backend["tiles"]
    other = ["--device", "cpu", "--model", "Mixtral-8x7B", "--repeats", "1"]
    assert main(["replay", *files, *other, "--json", "--steps", "1"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["intermediate"] <= 256  # a trial: shrunk
    save_profile(Profile("CPU", {}, {}, {}, {}, (), (), model), path)
    assert main(["replay", *args]) == 2
    assert "lacks 'hidden'" in capsys.readouterr().err
