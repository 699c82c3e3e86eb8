"""What each command does when all is well."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gemopt
from gemopt.bounds import lower_bound
from gemopt.bounds.stored import save_bound
from tests.cli.conftest import Cli

ROOT = Path(__file__).parents[2]


def test_solve_writes_what_check_confirms(cli: Cli, path: Path, tmp_path: Path) -> None:
    """The placement that `solve` writes costs what it says."""
    out = tmp_path / "a.placement.json"
    solved = json.loads(cli("solve", path, "-s", "lpt", "-o", out, "--json").out)
    checked = json.loads(cli("check", path, out, "--json").out)
    assert checked["feasible"]
    assert checked["objective_us"] == solved["objective_us"]
    assert checked["claimed_objective_us"] == solved["objective_us"]


def test_solve_prints_for_people(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Without --json the summary, the unseen figure and the file are named."""
    out = tmp_path / "a.placement.json"
    run = cli("solve", path, "-s", "lpt", "--unseen", 0.5, "-o", out)
    assert run.code == 0
    assert "small: lpt: feasible" in run.out
    assert "unseen steps" in run.out
    assert f"written to {out}" in run.out


def test_unseen_steps_are_kept_from_the_solver(
    cli: Cli, path: Path, instance: gemopt.Instance
) -> None:
    """`--unseen` solves the first steps alone and evaluates the others."""
    report = json.loads(cli("solve", path, "-s", "lpt", "--unseen", 0.5, "--json").out)
    seen, unseen = instance.split(0.5)
    result = gemopt.solve(seen, "lpt")
    assert result.placement is not None
    assert report["objective_us"] == result.objective
    expected = gemopt.evaluate(unseen, result.placement).objective
    assert report["unseen_objective_us"] == expected


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_trace_can_be_read_back(
    cli: Cli, path: Path, tmp_path: Path, suffix: str
) -> None:
    """`--trace` writes the improvements of the run."""
    trace = tmp_path / f"t.{suffix}"
    run = cli("solve", path, "-s", "gem", "--iterations", 2, "--improvements", trace)
    assert run.code == 0
    read = gemopt.Trace.from_csv if suffix == "csv" else gemopt.Trace.from_jsonl
    points = read(trace).points
    assert points
    assert [p.best for p in points] == sorted((p.best for p in points), reverse=True)


def test_start_is_not_made_worse(cli: Cli, path: Path, tmp_path: Path) -> None:
    """A run from a stored start ends at most at its cost."""
    first, second = tmp_path / "a.placement.json", tmp_path / "b.placement.json"
    before = json.loads(
        cli("solve", path, "-s", "gem", "--iterations", 3, "-o", first, "--json").out
    )
    after = json.loads(
        cli("solve", path, "-s", "random", "--start", first, "--iterations", 1)
        and cli(
            *("solve", path, "-s", "random", "--start", first, "--iterations", 1),
            *("-o", second, "--json"),
        ).out
    )
    assert after["objective_us"] <= before["objective_us"]


def test_compare_shows_seen_and_unseen(cli: Cli, path: Path) -> None:
    """`compare` gives a row per solver with both figures and a shared bound."""
    run = cli("compare", path, "-s", "linear,lpt,eplb", "--json")
    rows = json.loads(run.out)["rows"]
    assert [row["solver"] for row in rows] == ["linear", "lpt", "eplb"]
    for row in rows:
        assert row["seen_us"] >= row["lower_bound_us"] > 0
        assert row["unseen_us"] > 0
    table = cli("compare", path, "-s", "linear,lpt").out
    assert "6 steps seen, 6 unseen" in table
    assert "lpt" in table


def test_compare_says_why_a_solver_is_left_out(cli: Cli, tmp_path: Path) -> None:
    """A solver that cannot take the instance gets a row with the reason."""
    counts = [[[1, 2, 3]]] * 4
    models = [gemopt.latency.affine(1, 1)] * 2
    uneven = gemopt.Instance.from_arrays(counts, models, slots=[1, 2])
    gemopt.save(uneven, tmp_path / "uneven.json")
    run = cli("compare", tmp_path / "uneven.json", "-s", "lpt,eplb")
    assert run.code == 0
    assert "EPLB needs equal slots" in run.out


def test_solvers_lists_all(cli: Cli) -> None:
    """`solvers` lists every registered name."""
    names = {row["name"] for row in json.loads(cli("solvers", "--json").out)}
    assert names == set(gemopt.solvers())
    assert "linear" in cli("solvers").out


def test_instances_lists_the_folder(cli: Cli) -> None:
    """`instances` lists the catalogue with best known values."""
    root = ROOT / "instances"
    rows = json.loads(cli("instances", "--instances", root, "--json").out)
    assert any(row["name"].startswith("tiny-") for row in rows)
    assert "paper-" in cli("instances", "--instances", root).out


def test_versions(cli: Cli) -> None:
    """`show-versions` names gemopt, Python and the packages."""
    facts = json.loads(cli("show-versions", "--json").out)
    assert facts["gemopt"] == gemopt.__version__
    assert facts["numpy"]
    assert "python" in cli("show-versions").out


def test_generate_build_solve(cli: Cli, tmp_path: Path) -> None:
    """Traffic becomes an instance, the instance a placement."""
    trace, latency = tmp_path / "t.safetensors", tmp_path / "latency.json"
    made = cli(
        *("generate", "--model", "Mixtral-8x7B", "--layers", 2, "--steps", 8),
        *("--tokens", 64, "-o", trace),
    )
    assert made.code == 0, made.err
    latency.write_text(
        '{"kind": "tile_active", "base_us": 20, "per_active_us": 2, "per_tile_us": 1,'
        ' "per_token_us": 0.1, "tile_tokens": 16}'
    )
    built = cli(
        *("build", trace, "--latency", latency, "--gpus", 4, "--slots", 12),
        *("--node", "0,0,1,1", "-o", tmp_path / "i.json", "--json"),
    )
    assert built.code == 0, built.err
    assert json.loads(built.out)["slots"] == [3, 3, 3, 3]
    assert cli("solve", tmp_path / "i.json", "-s", "lpt").code == 0


def test_generate_is_seeded(cli: Cli, tmp_path: Path) -> None:
    """The same seed gives the same bytes, another one does not."""
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        arguments = ("--experts", 8, "--top-k", 2, "--layers", 1, "--steps", 4)
        assert cli("generate", *arguments, "--seed", seed, "-o", file).code == 0
    a, b, c = (gemopt.load_trace(file).counts.tolist() for file in files)
    assert a == b != c


def test_generate_makes_instances_on_emulated_gpus(cli: Cli, tmp_path: Path) -> None:
    """With --gpus the traffic comes as an instance, with unequal GPUs and slots."""
    out = tmp_path / "i.json"
    made = cli(
        *("generate", "--model", "Mixtral-8x7B", "--layers", 2, "--steps", 4),
        *("--tokens", 64, "--gpus", 4, "--slots", 10, "--variability", "high"),
        *("-o", out, "--json"),
    )
    assert made.code == 0, made.err
    assert json.loads(made.out)["shape"] == [4, 2, 8]
    instance = gemopt.load(out)
    assert instance.slots.tolist() == [3, 3, 2, 2] and instance.name == "i"
    assert len(set(instance.latency)) == 4
    assert cli("solve", out, "-s", "lpt").code == 0


def test_no_progress_in_a_pipe(path: Path) -> None:
    """A run whose output is no terminal shows no progress line."""
    run = subprocess.run(
        [sys.executable, "-m", "gemopt", "solve", path, "-s", "gem", "--time-limit=.3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0
    assert run.stderr == ""


def test_build_with_links_adds_communication(cli: Cli, tmp_path: Path) -> None:
    """Per-token ids and named links put communication into the instance."""
    order = np.random.default_rng(0).random((200, 2, 8)).argsort(axis=2)
    np.savez(
        tmp_path / "t.npz",
        expert_ids=order[:, :, :2].astype(np.uint8),
        request_offsets=np.arange(0, 201, 20),
    )
    (tmp_path / "l.json").write_text(
        '{"kind": "token_curve", "interpolation": "linear",'
        ' "tokens": [0, 1], "latency_us": [9, 10]}'
    )
    out = tmp_path / "i.json"
    build = ("build", tmp_path / "t.npz", "--latency", tmp_path / "l.json")
    options = ("--gpus", 4, "--batch", 4, "--sum", 2, "-o", out)
    assert cli(*build, *options, "--links", "pcie-box", "--hidden", 64).code == 0
    instance = gemopt.load(out)
    assert instance.comm is not None
    placement = gemopt.solve(instance, "linear").placement
    assert placement is not None
    cost = gemopt.evaluate(instance, placement).communication
    assert cost is not None
    assert cost.exact
    assert (cost.per_step > 0).all()
    refusal = cli(*build, *options, "--links", "pcie-box")
    assert refusal.code == 2
    assert "--hidden is missing" in refusal.err


def test_check_splits_the_cost_by_what_the_solver_saw(
    cli: Cli, path: Path, tmp_path: Path
) -> None:
    """`check` recomputes the seen and the unseen cost that `solve` printed."""
    out = tmp_path / "a.placement.json"
    solve = ("solve", path, "-s", "lpt", "--unseen", 0.25, "-o", out, "--json")
    solved = json.loads(cli(*solve).out)
    checked = json.loads(cli("check", path, out, "--json").out)
    assert checked["seen_objective_us"] == solved["objective_us"]
    assert checked["unseen_objective_us"] == solved["unseen_objective_us"]
    assert "unseen steps: " in cli("check", path, out).out


@pytest.mark.parametrize(
    ("order", "key"),
    [("seen", "seen_us"), ("unseen", "unseen_us"), ("time", "seconds")],
)
def test_compare_sorts(cli: Cli, path: Path, order: str, key: str) -> None:
    """`--sort` orders the rows by one of their figures."""
    names = "random,linear,lpt,eplb"
    run = cli(
        "compare", path, "-s", names, "--iterations", 1, "--sort", order, "--json"
    )
    values = [row[key] for row in json.loads(run.out)["rows"]]
    assert len(values) == 4
    assert values == sorted(values)


def test_interrupted_compare_keeps_what_is_done(
    cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends the comparison: no further solver runs, exit code 130."""
    from gemopt_solvers.lpt import Lpt

    solve = Lpt.solve

    def interrupted(self: Lpt, instance: gemopt.Instance, **options: object) -> object:
        if instance.num_steps > 2:  # not the warm-up
            raise KeyboardInterrupt
        return solve(self, instance, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Lpt, "solve", interrupted)
    run = cli("compare", path, "-s", "linear,lpt,eplb", "--json")
    assert run.code == 130
    assert [row["solver"] for row in json.loads(run.out)["rows"]] == ["linear", "lpt"]


def test_compare_finds_nothing(cli: Cli, tmp_path: Path) -> None:
    """Where no solver can take the instance the exit code is 1."""
    counts, models = [[[1, 2, 3]]] * 4, [gemopt.latency.affine(1, 1)] * 2
    uneven = gemopt.Instance.from_arrays(counts, models, slots=[1, 2])
    gemopt.save(uneven, tmp_path / "uneven.json")
    assert cli("compare", tmp_path / "uneven.json", "-s", "eplb").code == 1


def test_check_verifies_a_stored_bound(
    cli: Cli, path: Path, tmp_path: Path, instance: gemopt.Instance
) -> None:
    """`check --proof` recomputes the bound of a file and prints the gap to it."""
    out, bound = tmp_path / "a.placement.json", tmp_path / "a.bound.safetensors"
    cli("solve", path, "-s", "lpt", "-o", out)
    found = lower_bound(instance)
    save_bound(found, bound, instance)
    report = json.loads(cli("check", path, out, "--proof", bound, "--json").out)
    assert report["verified_bound_us"] == pytest.approx(found.value)
    assert report["verified_bound_us"] <= report["objective_us"]
    assert "verified bound" in cli("check", path, out, "--proof", bound).out


def test_compare_refuses_a_reference_that_does_not_run(cli: Cli, path: Path) -> None:
    """A reference outside the list is named, not replaced in silence."""
    run = cli("compare", path, "-s", "lpt,eplb", "--reference", "gem")
    assert run.code == 2 and "--reference gem is not among --solvers" in run.err
    shown = cli("compare", path, "-s", "lpt,eplb").out
    assert "differences against lpt" in shown


def test_compare_warns_of_few_steps(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Few steps are a warning on stderr with the file's name; one step is refused."""
    run = cli("compare", path, "-s", "linear")
    assert run.code == 0 and f"warning: {path} has 12 steps" in run.err
    one = gemopt.load(path).steps(0, 1)
    gemopt.save(one, tmp_path / "one.json")
    run = cli("compare", tmp_path / "one.json", "-s", "linear")
    assert run.code == 2 and "one.json: has 1 step; --unseen 0.5" in run.err


def test_compare_survives_a_faulty_solver(
    cli: Cli, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception in a solver is a row with its error; the other rows are there."""
    from gemopt_solvers.lpt import Lpt

    def broken(self: Lpt, instance: gemopt.Instance, **options: object) -> object:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Lpt, "solve", broken)
    run = cli("compare", path, "-s", "lpt,linear")
    assert run.code == 0
    assert "lpt faulty: ZeroDivisionError: division by zero" in run.out
    tables = [line for line in run.out.splitlines() if line.startswith("linear")]
    assert tables and all(len(line) <= 80 for line in run.out.splitlines())
