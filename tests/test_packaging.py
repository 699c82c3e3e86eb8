"""What users rely on before any code runs: imports, layers, sizes, the wheel."""

import ast
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import networkx as nx
import pytest

import gemopt

ROOT = Path(__file__).parent.parent
PACKAGES = {  # importable name: folder
    "gemopt": ROOT / "gemopt",
    "gemopt_solvers": ROOT / "solvers" / "gemopt_solvers",
    "gemopt_gpu_bench": ROOT / "gpu_bench" / "gemopt_gpu_bench",
}
REGISTRY = ROOT / "gemopt" / "run" / "registry.py"
HEAVY = ("torch", "ortools", "sklearn", "networkx", "matplotlib", "pydantic", "typer")
FILES = sorted(path for home in PACKAGES.values() for path in home.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    documented = ast.get_docstring(node) is not None
    docstring = node.body[0] if documented else None
    lines = (node.end_lineno or 0) - node.lineno + 1
    if docstring is not None:
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


LIGHT = {
    "import gemopt": (HEAVY, "import gemopt"),
    "gemopt --help": (
        (*set(HEAVY) - {"typer"}, "numba", "scipy", "gemopt_solvers"),
        "import contextlib, gemopt.cli\n"
        "with contextlib.suppress(SystemExit): gemopt.cli.main(['--help'])",
    ),
}


@pytest.mark.parametrize(("heavy", "code"), LIGHT.values(), ids=LIGHT)
def test_start_is_light(heavy: tuple[str, ...], code: str) -> None:
    """Neither the import nor the help brings in a heavy package."""
    told = f"import sys; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{told}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    """`gemopt` imports neither solvers nor gpu_bench, and those not each other."""
    package = next(n for n, home in PACKAGES.items() if path.is_relative_to(home))
    allowed = {"gemopt": {"gemopt"}}.get(package, {"gemopt", package})
    if path == ROOT / "gemopt" / "cli" / "profile.py" or path.name == "replay.py":
        allowed |= {"gemopt_gpu_bench"}  # commands that are the face of gpu_bench
    assert _imports(path) & set(PACKAGES) <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers_in_strings(path: Path) -> None:
    """No string of `gemopt` but the registry's names a module of the solvers."""
    if not path.is_relative_to(PACKAGES["gemopt"]) or path == REGISTRY:
        return
    named = [
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"\bgemopt_solvers\b", node.value)
    ]
    assert not named


def _run_imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run, those inside functions too, not those for type checkers."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from _run_imports(child)


def test_no_import_circles() -> None:
    """No two modules import each other, not by way of others or in functions either."""
    modules = {}
    for name, home in PACKAGES.items():
        for path in home.rglob("*.py"):
            parts = (name, *path.relative_to(home).with_suffix("").parts)
            modules[".".join(p for p in parts if p != "__init__")] = path
    graph = nx.DiGraph()
    for name, path in modules.items():
        for node in _run_imports(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                targets = [n if n in modules else str(node.module) for n in inner]
            graph.add_edges_from((name, t) for t in targets if t in modules)
    assert graph.number_of_edges() > 500
    assert not [
        sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    """No file has over 400 lines and no function over 60, docstrings left out."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _code_lines(node) <= 60, node.name


def test_public_names() -> None:
    """Every public name of `gemopt` can be imported."""
    for name in gemopt.__all__:
        assert getattr(gemopt, name) is not None, name


POLICIES = ("ascend", "config", "deepseek", "guard", "sglang", "vllm")


@pytest.mark.parametrize(
    "face", ["comm", "weights", *map("policies.{}".format, POLICIES)]
)
def test_public_faces(face: str) -> None:
    """Modules that engines' settings and scripts import hold all that they announce."""
    if face.startswith("policies."):
        pytest.importorskip("torch")
    module = import_module(f"gemopt.{face}")
    assert module.__all__
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_unknown_name() -> None:
    """A name that gemopt lacks is an AttributeError that says so."""
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gemopt.nonsense


@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    """The wheel holds three packages, all typed, and nothing else at its top."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == set(PACKAGES)
    assert all(f"{name}/py.typed" in names for name in PACKAGES)
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(wheel), str(tmp_path / "site")],
        check=True,
    )
    code = (
        "import gemopt; from gemopt.files.shipped import profile_path;"
        "print(gemopt.__file__, gemopt.load('tiny-affine-e4-g2'),"
        " gemopt.load('real-b512-g4-s68-tiles').num_gpus,"
        " profile_path('h100/Qwen3-30B-A3B'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(str(tmp_path / "site")) == 2


def test_typed() -> None:
    """All three packages are marked as typed."""
    assert all((home / "py.typed").is_file() for home in PACKAGES.values())
