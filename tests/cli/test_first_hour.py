"""What a newcomer types first, and what the commands say about solvers."""

import json
import sys
from importlib.metadata import EntryPoint

import pytest

import gemopt
from gemopt.cli import main
from gemopt.cli.app import app
from gemopt.cli.groups import GROUPS
from gemopt.run import registry


def said(capsys, *argv):
    """Exit code, stdout and stderr of a command line."""
    code = main([str(each) for each in argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_gemopt_alone_is_the_help(capsys):
    """No arguments, -h and --help print the same, and succeed."""
    texts = [said(capsys, *argv) for argv in ([], ["-h"], ["--help"])]
    assert {code for code, _, _ in texts} == {0}
    assert len({out.strip() for _, out, _ in texts}) == 1
    assert "gemopt compare tiny-affine-e4-g2" in texts[0][1]


def test_version(capsys):
    """--version names the version."""
    assert said(capsys, "--version")[:2] == (0, f"gemopt {gemopt.__version__}\n")


def test_every_command_has_a_group():
    """No command is left out of the list in the help, and none is made up."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(c.name for c in app.registered_commands)


def test_options_of_a_solver(capsys):
    """`gemopt solvers NAME` lists options, defaults and presets."""
    code, out, _ = said(capsys, "solvers", "search", "--json")
    facts = json.loads(out)
    assert code == 0
    assert {"name": "max_moves", "default": None} in facts["options"]
    assert "fast" in facts["presets"]
    assert "fast" in said(capsys, "solvers", "search")[1]
    assert "no options" in said(capsys, "solvers", "linear")[1]
    assert said(capsys, "solvers", "serch")[0] == 2


@pytest.fixture
def faulty(monkeypatch, tmp_path):
    """A third party's solver whose module cannot be imported."""
    (tmp_path / "faulty_solver.py").write_text("import nosuch_package_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("faulty", "faulty_solver:Faulty", registry.GROUP)
    known = {**registry.entries(), "faulty": registry._third_party(point)}
    monkeypatch.setattr(registry, "entries", lambda: known)
    yield "faulty"
    sys.modules.pop("faulty_solver", None)


def test_a_faulty_solver_is_one_row(capsys, faulty):
    """The others are listed; the faulty one shows its error."""
    code, out, _ = said(capsys, "solvers", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert "nosuch_package_anywhere" in rows[faulty]["error"]
    assert rows["lpt"]["summary"]


def test_a_faulty_solver_fails_its_check(capsys, faulty):
    """`check-solver` names what the solver raises, and fails."""
    code, out, _ = said(capsys, "check-solver", faulty)
    assert code == 1
    assert "ModuleNotFoundError" in out
    assert "breaks the contract" in out


def test_a_good_solver_passes_every_rule(capsys):
    """`check-solver` lists each rule with the instances on which it held."""
    code, out, _ = said(capsys, "check-solver", "linear", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["passed"]
    assert len(report["rules"]) == 1 + len(gemopt.testing.CHECKS)
    cases = len(gemopt.testing.contract_instances())
    assert {rule["instances"] for rule in report["rules"][1:]} == {cases}


def test_a_folder_named_solvers_does_no_harm(tmp_path, monkeypatch, capsys):
    """A user's own packages `solvers` and `gpu_bench` are none of ours."""
    for name in ("solvers", "gpu_bench"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(tmp_path)
    instance = gemopt.load("tiny-affine-e4-g2")
    assert gemopt.solve(instance, "lpt").placement is not None
    assert said(capsys, "solvers")[0] == 0
