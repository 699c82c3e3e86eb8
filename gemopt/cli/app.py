"""All commands, and what becomes of their errors."""

import sys
from collections.abc import Sequence

import typer

from gemopt.cli import (
    apply,
    bench,
    bound,
    build,
    check,
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
)

app = typer.Typer(
    name="gemopt",
    help="Decides which GPU holds which expert of a Mixture-of-Experts model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
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
