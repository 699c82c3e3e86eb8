"""What mkdocs builds from the code: the command line and the API, one page a topic."""

import inspect
from functools import cache
from importlib import import_module
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.main import get_command

import gemopt
from gemopt.cli.app import app
from gemopt.run import registry

#: Page of the API reference by the subpackage that defines an object.
TOPICS = {
    "model": "Problems and placements",
    "latency": "Latency models",
    "run": "Solving and results",
    "cost": "Evaluation",
    "bounds": "Lower bounds",
    "files": "Files",
    "traffic": "Traffic",
    "study": "Comparing solvers",
    "engines": "Engines",
    "serving": "Policies",
    "checkpoint": "Checkpoints",
    "testing": "Testing a solver",
    "solvers": "Options of solvers",
}
#: Public modules beside `gemopt` itself; of these every name in `__all__`, or every
#: public function and class that they define.
MODULES = (
    "latency",
    "bounds",
    "traffic",
    "engines",
    "policies",
    "testing",
    "run.solver",
    "study.bench",
    "study.compare",
    "study.graph",
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API reference into the navigation."""
    reference = next(part["Reference"] for part in config.nav if "Reference" in part)
    reference.append({"API": list(api_pages())})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"reference/cli.md": cli_page(), **api_pages()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def cli_page() -> str:
    """Every command with its options and their defaults."""
    commands: Any = get_command(app)
    parts = [
        "# Command reference\n\nGenerated from the program; "
        "[the guide](../cli.md) explains how the commands work together.\n"
    ]
    for name, command in commands.commands.items():
        usage = [p.name.upper() for p in _arguments(command)]
        parts.append(f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n")
        parts.append(f"```\ngemopt {' '.join([name, '[OPTIONS]', *usage])}\n```\n")
        parts.append("| option | default | meaning |\n| --- | --- | --- |")
        for parameter in command.params:
            parts.append(_row(parameter))
        parts.append("")
    return "\n".join(parts)


def _arguments(command: Any) -> list[Any]:
    return [p for p in command.params if p.param_type_name == "argument"]


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{parameter.name.upper()}`"
    else:
        flags = [*parameter.opts, *parameter.secondary_opts]
        names = ", ".join(f"`{flag}`" for flag in flags if flag.startswith("-"))
    default = parameter.default
    shown = "" if default in (None, False, (), []) or callable(default) else default
    text = f"`{getattr(shown, 'value', shown)}`" if shown != "" else ""
    if parameter.required:
        text = "required"
    meaning = (getattr(parameter, "help", None) or "").replace("|", "\\|")
    return f"| {names} | {text} | {' '.join(meaning.split())} |"


def public_objects() -> dict[str, tuple[str, str]]:
    """Public name to topic and to where the object is defined."""
    found: dict[str, tuple[str, str]] = {}
    for name in gemopt.__all__:
        value = getattr(gemopt, name)
        if _is_object(value):
            found[f"gemopt.{name}"] = _home(value)
    for short in MODULES:
        module = import_module(f"gemopt.{short}")
        for name in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, name)
            if name.startswith("_") or not _is_object(value):
                continue
            if hasattr(module, "__all__") or value.__module__ == module.__name__:
                found[f"gemopt.{short}.{name}"] = _home(value)
    for name, entry in registry.entries().items():
        if entry.origin != "gemopt" or not entry.installed:
            continue
        options = entry.load().Params
        if options.__name__ != "NoParams":
            found[f"{name}: {options.__name__}"] = ("solvers", _path(options))
    return found


def _is_object(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _path(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _home(value: Any) -> tuple[str, str]:
    room = value.__module__.split(".")[1]
    return room if room in TOPICS else "model", _path(value)


@cache
def api_pages() -> dict[str, str]:
    """One page a topic, and an index of all names."""
    objects = public_objects()
    index = [
        "# API\n\nEverything a user needs is a name of `gemopt`. "
        "Other packages are internal: they may change without notice.\n"
    ]
    pages = {}
    for room, title in TOPICS.items():
        chosen = {n: path for n, (topic, path) in objects.items() if topic == room}
        if not chosen:
            continue
        index.append(f"- [{title}]({room}.md): {', '.join(f'`{n}`' for n in chosen)}")
        shown = {path: name for name, path in reversed(chosen.items())}
        body = [f"# {title}\n"]
        for path, name in reversed(shown.items()):
            body.append(
                f"::: {path}\n    options:\n      heading: '{name}'\n"
                f"      toc_label: '{name}'\n"
            )
        pages[f"reference/api/{room}.md"] = "\n".join(body)
    return {"reference/api/index.md": "\n".join(index), **pages}
