"""All commands, and what becomes of their errors."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from gemopt.cli import (
    apply,
    bench,
    bound,
    build,
    check,
    check_solver,
    compare,
    export,
    generate,
    graph,
    import_,
    instances,
    profile,
    replay,
    report,
    solve,
    solvers,
    versions,
    warm_up,
)
from gemopt.cli.groups import Grouped

EXAMPLES = """Decides which GPU holds which expert of a Mixture-of-Experts model.

\b
For example:
  gemopt compare tiny-affine-e4-g2
  gemopt build my.trace.safetensors --profile h100/Qwen3-30B-A3B --gpus 8 -o my.json
  gemopt solve my.json --time-limit 10 -o my.placement.json
"""

app = typer.Typer(
    name="gemopt",
    help=EXAMPLES,
    cls=Grouped,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from gemopt import __version__

        print(f"gemopt {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print it."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("solve")(solve.command)
app.command("check")(check.command)
app.command("bound")(bound.command)
app.command("compare")(compare.command)
app.command("bench")(bench.command)
app.command("report")(report.command)
app.command("replay")(replay.command)
app.command("apply")(apply.command)
app.command("build")(build.command)
app.command("profile")(profile.command)
app.command("generate")(generate.command)
app.command("import")(import_.command)
app.command("export")(export.command)
app.command("graph")(graph.command)
app.command("solvers")(solvers.command)
app.command("instances")(instances.command)
app.command("check-solver")(check_solver.command)
app.command("warm-up")(warm_up.command)
app.command("show-versions")(versions.command)


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line; return its exit code. Errors become one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = app(args=arguments, prog_name="gemopt", standalone_mode=False)
        return int(code or 0)
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("gemopt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except (ValueError, OSError) as error:
        print(f"gemopt: {_one_line(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(f"gemopt: {_one_line(error)}", file=sys.stderr)
        return 2


def _one_line(error: Exception) -> str:
    if hasattr(error, "format_message"):
        text = str(error.format_message()) or "missing command; see gemopt --help"
    elif isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split())
