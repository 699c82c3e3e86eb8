"""`gemopt bench` and `gemopt report` on the command line."""

import csv
import io
import json
from pathlib import Path

import pytest

import gemopt
from gemopt.cli.ranges import (
    expand_instances,
    parse_seeds,
    parse_solvers,
    solver_params,
)
from gemopt.files.best_known import BestKnown, write_best_known
from gemopt.files.catalog import VARIABLE, write_catalog
from tests.cli.conftest import Cli

VALUE = 1.0  #: far below every placement, so that no run is at best


@pytest.fixture
def folder(tmp_path: Path, instance: gemopt.Instance) -> Path:
    """A folder of instances with a catalogue and best known values."""
    root = tmp_path / "instances"
    (root / "small").mkdir(parents=True)
    gemopt.save(instance, root / "small" / "small.json")
    write_catalog(root)
    entry = BestKnown(tag="best", value_us=VALUE, bound_us=None, provenance="")
    write_best_known(root, {"small": entry})
    return root


@pytest.mark.parametrize(
    ("text", "seeds"), [("3", [3]), ("0-4", [0, 1, 2, 3, 4]), ("7,1-2,1", [7, 1, 2])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    """Numbers and ranges, in order, each once."""
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "-4", "4-0", "0-", "a", "1.5", "0--4"])
def test_bad_seeds_are_named(text: str) -> None:
    """A range is never taken for a negative number."""
    with pytest.raises(ValueError, match="--seeds"):
        parse_seeds(text)


def test_solver_names() -> None:
    """A list, all of them, or a hint at the nearest name."""
    assert parse_solvers("lpt, gem,lpt") == ["lpt", "gem"]
    assert parse_solvers("all") == gemopt.solvers()
    with pytest.raises(ValueError, match="did you mean 'lpt'"):
        parse_solvers("linear,lptt")


def test_options_go_to_those_that_have_them() -> None:
    """A plain key to every solver with that option, a prefixed one to its solver."""
    names = ["linear", "random", "search"]
    assert solver_params(["draws=3"], names) == {"random": {"draws": 3}}
    given = solver_params(["search.preset=fast"], names)
    assert given == {"search": {"preset": "fast"}}
    for pair in ("nosuch=1", "linear.draws=1", "gem.draws=1"):
        with pytest.raises(ValueError, match="option of none of the solvers"):
            solver_params([pair], names)
    with pytest.raises(ValueError, match="draws = 0"):
        solver_params(["draws=0"], names)


def test_patterns_of_instances(folder: Path) -> None:
    """Patterns and `all` are names of the catalogue; files stay as they are."""
    assert expand_instances(["sm*", "small"], folder) == ["small"]
    assert expand_instances(["all", "x.json"], folder) == ["small", "x.json"]
    with pytest.raises(ValueError, match=r"no instance fits 'tiny-\*'"):
        expand_instances(["tiny-*"], folder)


@pytest.mark.parametrize("how", ["option", "variable", "file"])
def test_best_known_values_are_found_where_the_instance_is(
    cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Whatever way leads to the instance, `report` knows its value, from any folder."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs.jsonl"
    common = ("-s", "linear,lpt", "-o", runs)
    if how == "option":
        cli("bench", "small", "--instances", folder, *common)
    elif how == "variable":
        monkeypatch.setenv(VARIABLE, str(folder))
        cli("bench", "small", *common)
    else:
        cli("bench", folder / "small" / "small.json", *common)
    monkeypatch.delenv(VARIABLE, raising=False)
    (line, _) = json.loads(cli("report", runs, "--json").out)["solvers"]
    assert line["at_best"] == 0 and line["to_best"] > 0
    made = map(json.loads, runs.read_text().splitlines())
    cost = min(run["objective_us"] for run in made)
    assert line["to_best"] == pytest.approx(cost / VALUE - 1)


def test_a_namesake_has_no_best_known_value(
    cli: Cli, folder: Path, tmp_path: Path, instance: gemopt.Instance
) -> None:
    """Another instance of the same name is not held against the stored value."""
    gemopt.save(instance.split(0.5)[0], tmp_path / "small.json")
    runs = tmp_path / "runs.jsonl"
    arguments = ("--instances", folder, "-s", "linear", "-o", runs)
    cli("bench", tmp_path / "small.json", *arguments)
    assert json.loads(runs.read_text())["best_known_us"] is None


def test_interrupted_bench_exits_with_130(
    cli: Cli, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done is kept and counted; the rest is made on the next call."""
    from gemopt_solvers.lpt import Lpt

    solve = Lpt.solve

    def pressed(self: Lpt, instance: gemopt.Instance, **options: object) -> object:
        if instance.num_steps > 2:
            raise KeyboardInterrupt
        return solve(self, instance, **options)  # type: ignore[arg-type]

    runs = tmp_path / "runs.jsonl"
    command = ("bench", path, "-s", "linear,lpt", "--seeds", "0-1", "-o", runs)
    with monkeypatch.context() as patch:
        patch.setattr(Lpt, "solve", pressed)
        first = cli(*command)
    assert first.code == 130 and "interrupted: 2 runs made" in first.out
    assert cli(*command).out.startswith("2 runs made, 2 kept")


def test_report_prints_every_form(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Tables of at most 80 columns, CSV and LaTeX; a file given twice counts once."""
    runs = tmp_path / "runs.jsonl"
    options = ("-s", "linear,lpt,eplb", "--seeds", "0-2", "--unseen", 0.5)
    assert cli("bench", path, *options, "-o", runs).code == 0
    shown = cli("report", runs, runs).out
    assert "Means over 1 instances" in shown
    table = (
        shown.split("\n\n")[0].splitlines()[1:] + shown.split("\n\n")[1].splitlines()
    )
    assert all(len(line) <= 80 for line in table)
    rows = list(csv.DictReader(io.StringIO(cli("report", runs, "--csv").out)))
    assert {row["runs"] for row in rows} == {"3"}
    cells = cli("report", runs, "--by-instance", "--csv").out
    assert len(cells.splitlines()) == 4
    assert cli("report", runs, "--latex").out.startswith(r"\begin{tabular}")
    assert cli("report", runs, "--latex", "--csv").code == 2
