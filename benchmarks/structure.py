"""Structure of the source tree: rooms, imports, sizes, tests.

    python -m benchmarks.structure
    python benchmarks/structure.py --root OTHER_CHECKOUT --rooms solvers/search

A *room* of a folder is a module or subpackage in it. An *arrow* says that one room
imports another at run time, at the top of a file or inside a function; imports for type
checkers alone do not count. Reads files only: nothing is imported, so other versions of
the tree can be measured.
"""

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx

FOLDERS = ("gemopt", "solvers", "gpu_bench")
ROW_FORMS = re.compile(r"\b(?:CURVE|LINE|TWO_LINES)\b")
KERNELS = {"kernel", "inlined", "njit", "jit"}


@dataclass(frozen=True)
class Function:
    """Name, lines without its docstring, parameters, and whether it is compiled."""

    name: str
    lines: int
    parameters: int
    compiled: bool


@dataclass
class Module:
    """What one file holds and imports."""

    name: str
    folder: str
    path: Path
    text: str
    top: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    functions: list[Function] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """Lines of the file."""
        return self.text.count("\n")


def homes(root: Path) -> Iterator[tuple[str, Path]]:
    """Folder at the top of the tree and the package that it is or holds."""
    for folder in FOLDERS:
        if (root / folder / "__init__.py").exists():
            yield folder, root / folder
        else:
            for init in sorted((root / folder).glob("*/__init__.py")):
                yield folder, init.parent


def read(root: Path) -> dict[str, Module]:
    """Every module of the packages below `root`, by its dotted name."""
    modules = {}
    for folder, home in homes(root):
        for path in sorted(home.rglob("*.py")):
            parts = path.relative_to(home.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            modules[name] = Module(name, folder, path, text)
    for module in modules.values():
        tree = ast.parse(module.text)
        _imports(module, tree, modules, inside=False)
        module.functions = list(_functions(tree))
    return modules


def _imports(
    module: Module, node: ast.AST, modules: dict[str, Module], *, inside: bool
) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        deeper = inside or isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        into = module.inside if deeper else module.top
        into |= {name for name in _imported(child, modules) if name != module.name}
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            name = child.value.split(":")[0]
            if "." in name and name in modules:
                module.strings.add(name)
        _imports(module, child, modules, inside=deeper)


def _imported(node: ast.AST, modules: dict[str, Module]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom) and node.module in modules:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in modules else node.module


def _functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = (node.end_lineno or 0) - node.lineno + 1
        if ast.get_docstring(node) is not None:
            lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
        a = node.args
        count = len(a.posonlyargs) + len(a.args) + len(a.kwonlyargs)
        names = {n.id for d in node.decorator_list for n in ast.walk(d) if _is_name(n)}
        yield Function(node.name, lines, count, bool(names & KERNELS))


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def rooms(modules: dict[str, Module], package: str) -> nx.DiGraph:
    """Rooms of a package and the arrows between them."""
    depth = package.count(".") + 1
    graph: nx.DiGraph = nx.DiGraph()

    def room(name: str) -> str | None:
        parts = name.split(".")
        inside = name.startswith(f"{package}.") and len(parts) > depth
        return parts[depth] if inside else None

    for module in modules.values():
        here = room(module.name)
        if here is None:
            continue
        graph.add_node(here)
        for target in module.top | module.inside:
            there = room(target)
            if there is not None and there != here:
                graph.add_edge(here, there)
    return graph


def circles(modules: dict[str, Module], *, inside: bool) -> list[list[str]]:
    """Sets of modules that import each other, with or without imports in functions."""
    graph: nx.DiGraph = nx.DiGraph()
    for module in modules.values():
        targets = module.top | (module.inside if inside else set())
        graph.add_edges_from((module.name, target) for target in targets)
    return _loops(graph)


def _loops(graph: nx.DiGraph) -> list[list[str]]:
    found = nx.strongly_connected_components(graph)
    return sorted(sorted(each) for each in found if len(each) > 1)


def p95(values: list[int]) -> int:
    """The value that 95 % do not exceed."""
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def _sizes(modules: dict[str, Module]) -> None:
    print("| folder | files | lines | file median | p95 | max", end=" ")
    print("| function median | p95 | max | > 60 lines | > 8 parameters | > 10 |")
    print("|" + " --- |" * 12)
    for folder in (*FOLDERS, "all"):
        chosen = [m for m in modules.values() if folder in (m.folder, "all")]
        if not any(m.functions for m in chosen):
            continue
        files = [m.lines for m in chosen]
        functions = [f for m in chosen for f in m.functions]
        lines = [f.lines for f in functions]
        wide = []
        for limit in (8, 10):
            many = [f for f in functions if f.parameters > limit]
            wide.append(f"{len(many)} ({sum(not f.compiled for f in many)})")
        cells = (
            folder, len(files), sum(files), round(statistics.median(files)),
            p95(files), max(files), round(statistics.median(lines)), p95(lines),
            max(lines), sum(n > 60 for n in lines), *wide,
        )  # fmt: skip
        print("| " + " | ".join(map(str, cells)) + " |")
    print("\nIn brackets: outside compiled kernels. Functions without their docstring.")


def _tests(root: Path, modules: dict[str, Module]) -> None:
    print("\n| folder | lines of code | lines of tests | tests : code |")
    print("| --- | --- | --- | --- |")
    lines = dict.fromkeys(FOLDERS, 0)
    for path in (root / "tests").rglob("*.py"):
        first = path.relative_to(root / "tests").parts[0]
        folder = first if first in ("solvers", "gpu_bench") else "gemopt"
        lines[folder] += path.read_text(encoding="utf-8").count("\n")
    for folder in dict.fromkeys(m.folder for m in modules.values()):
        code = sum(m.lines for m in modules.values() if m.folder == folder)
        ratio = lines[folder] / max(1, code)
        print(f"| {folder} | {code} | {lines[folder]} | {ratio:.2f} |")


def _package_of(root: Path, modules: dict[str, Module], folder: str) -> str:
    """Dotted name of the package in a folder such as ``solvers/search``."""
    top, *rest = folder.strip("/").split("/")
    for parent, home in homes(root):
        package = ".".join([home.name, *rest])
        if parent == top and package in modules:
            return package
    raise SystemExit(f"{folder}: no package of this name below {root}")


def report(root: Path, folders: list[str]) -> None:
    """Print everything about the tree below `root`."""
    modules = read(root)
    _sizes(modules)
    _tests(root, modules)
    print("\n| package | rooms | arrows | circles of rooms |")
    print("| --- | --- | --- | --- |")
    for folder in folders:
        package = _package_of(root, modules, folder)
        graph = rooms(modules, package)
        circle = "; ".join(" <-> ".join(c) for c in _loops(graph)) or "none"
        print(f"| {package} | {len(graph)} | {graph.number_of_edges()} | {circle} |")
    reading = sorted(m.name for m in modules.values() if ROW_FORMS.search(_code(m)))
    print(f"\nFiles that interpret rows of latency tables: {len(reading)}")
    print("".join(f"- {name}\n" for name in reading))
    for module in modules.values():
        home = module.name.split(".")[0]
        for name in sorted(module.strings):
            if home == "gemopt" and not name.startswith("gemopt."):
                print(f"{module.name} names {name} in a string")
    late = sum(len(m.inside - m.top) for m in modules.values())
    print(f"Imports of our own modules inside functions: {late}")
    for inside in (False, True):
        where = "with those inside functions" if inside else "at the top of files"
        found = circles(modules, inside=inside)
        print(f"Import circles, {where}: {len(found)}")
        print("".join(f"- {' <-> '.join(circle)}\n" for circle in found), end="")


def _code(module: Module) -> str:
    """Names that a module uses, without strings and comments."""
    nodes = ast.walk(ast.parse(module.text))
    names = [n.id for n in nodes if isinstance(n, ast.Name)]
    return " ".join(names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    parser.add_argument(
        "--rooms", nargs="+", default=["gemopt", "solvers", "solvers/search"]
    )
    options = parser.parse_args()
    report(options.root, options.rooms)
