"""Options of the policies: variables, file, and what they refuse."""

import json
import os

import pytest

from gemopt.files.errors import FileError
from gemopt.files.profile_file import Profile, save_profile
from gemopt.latency import affine
from gemopt.serving.config import PolicyConfig, config_from, enabled


def profile(folder, name, us_per_token=0.1):
    """Write a profile with an affine curve."""
    latency = affine(10.0, us_per_token)
    path = folder / f"{name}.profile.json"
    save_profile(Profile(name, {}, {}, {}, {}, (), (), latency), path)
    return path


@pytest.mark.parametrize("value", ["1", "on", "TRUE", " yes "])
def test_gate_opens(value):
    """Every usual yes asks for the policy."""
    assert enabled({"GEMOPT_POLICY": value})


@pytest.mark.parametrize("environment", [{}, {"GEMOPT_POLICY": "0"}])
def test_gate_stays_closed(environment):
    """Unset or no: nothing is asked for."""
    assert not enabled(environment)


def test_gate_refuses_other_words():
    """A value that is neither yes nor no is named."""
    with pytest.raises(ValueError, match="GEMOPT_POLICY = 'deepseek' must be 1 or 0"):
        enabled({"GEMOPT_POLICY": "deepseek"})


def test_nothing_set_gives_defaults():
    """Without variables: equal GPUs, no limits."""
    assert config_from({}) == PolicyConfig()
    assert config_from({}).latency(4) is None


def test_variables(tmp_path):
    """Every option can be given as a variable."""
    one, two = profile(tmp_path, "a"), profile(tmp_path, "b", 0.2)
    environment = {
        "GEMOPT_PROFILE": os.pathsep.join([str(one), str(two)]),
        "GEMOPT_MOVE_BUDGET": "64",
        "GEMOPT_MIN_GAIN": "0.05",
        "GEMOPT_WINDOW_STEPS": "500",
        "GEMOPT_PRESET": "default",
    }
    config = config_from(environment)
    expected = PolicyConfig((str(one), str(two)), 64, 0.05, 500, "default")
    assert config == expected
    assert config.latency(2) == (affine(10.0, 0.1), affine(10.0, 0.2))
    with pytest.raises(ValueError, match="names 2 files for 3 ranks"):
        config.latency(3)


def test_one_profile_is_for_all_ranks(tmp_path):
    """A single profile stands for every rank."""
    path = str(profile(tmp_path, "a"))
    config = config_from({"GEMOPT_PROFILE": path})
    assert config.latency(3) == (affine(10.0, 0.1),) * 3


def test_file_and_variables(tmp_path):
    """A file gives options, paths count from its folder, variables win."""
    profile(tmp_path, "a")
    path = tmp_path / "policy.json"
    document = {"profiles": ["a.profile.json"], "min_gain": 0.1, "move_budget": 3}
    path.write_text(json.dumps(document))
    config = config_from({"GEMOPT_CONFIG": str(path), "GEMOPT_MIN_GAIN": "0.2"})
    assert config.profiles == (str(tmp_path / "a.profile.json"),)
    assert (config.min_gain, config.move_budget) == (0.2, 3)
    assert config.latency(1) == (affine(10.0, 0.1),)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GEMOPT_MOVE_BUDGET", "many", "'many': must be a whole number"),
        ("GEMOPT_MOVE_BUDGET", "-1", "move_budget = -1 must be >= 0"),
        ("GEMOPT_MIN_GAIN", "5 %", "'5 %': must be a number"),
        ("GEMOPT_MIN_GAIN", "nan", r"min_gain = nan must be in \[0, 1\)"),
        ("GEMOPT_WINDOW_STEPS", "0", "window_steps = 0 must be >= 1"),
    ],
)
def test_bad_variables(variable, value, message):
    """One line names the variable and the value."""
    with pytest.raises(ValueError, match=f"{variable} = .*{message}"):
        config_from({variable: value})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "file is empty"),
        ("{", "is not JSON"),
        ('{"min_gains": 0.1}', "min_gains is no field"),
        ('{"min_gain": "0.1"}', "min_gain = '0.1'"),
        ('{"min_gain": 1.5}', r"min_gain = 1.5 must be in \[0, 1\)"),
    ],
)
def test_bad_files(tmp_path, text, message):
    """One line names the file, the field and the value."""
    path = tmp_path / f"policy{abs(hash(text))}.json"
    path.write_text(text)
    with pytest.raises(FileError, match=message) as error:
        config_from({"GEMOPT_CONFIG": str(path)})
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_missing_files(tmp_path):
    """A file that is not there is named."""
    missing = str(tmp_path / "no.json")
    with pytest.raises(FileError, match=r"no\.json: cannot read"):
        config_from({"GEMOPT_CONFIG": missing})
    config = config_from({"GEMOPT_PROFILE": missing})
    with pytest.raises(FileError, match=r"no\.json: cannot read"):
        config.latency(1)
