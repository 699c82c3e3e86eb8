"""The table of commands, and what every command does with errors."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import typer

from gemopt.cli.common import FOUND, INTERRUPTED, USAGE, error_line

_SOLVE, _DATA, _ABOUT = "Solve and judge", "Make and move data", "Look around"

#: Name, "module:function" below `gemopt.cli`, and panel of every command.
COMMANDS = (
    ("solve", "solve:solve", _SOLVE),
    ("check", "check:check", _SOLVE),
    ("compare", "compare:compare", _SOLVE),
    ("solvers", "solvers:solvers", _ABOUT),
    ("instances", "instances:instances", _ABOUT),
    ("show-versions", "versions:show_versions", _ABOUT),
)

# typer exports only this subclass of the error for wrong use.
_UsageError = typer.BadParameter.__bases__[0]


def build_app() -> typer.Typer:
    """Make the application; command files import what is heavy when they run."""
    app = typer.Typer(
        name="gemopt",
        help="Which GPU holds which expert of a Mixture-of-Experts model, "
        "from measured latency and real routing.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, target, panel in COMMANDS:
        module, _, function = target.partition(":")
        command = getattr(import_module(f"gemopt.cli.{module}"), function)
        app.command(name, rich_help_panel=panel)(command)
    return app


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version."),
) -> None:
    """Handle options that stand before any command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; None means ``sys.argv``.

    Returns
    -------
    int
        0 done; 1 infeasible or nothing found; 2 wrong use or bad input, with one line
        on the error stream; 130 interrupted, after writing the best so far.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from gemopt import __version__

        print(f"gemopt {__version__}")
        return FOUND
    try:
        code = build_app()(arguments, prog_name="gemopt", standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except _UsageError as error:
        # Without arguments typer has printed the help already.
        message = error.format_message()  # type: ignore[attr-defined]
        if message:
            print(f"gemopt: {message}", file=sys.stderr)
        return USAGE
    except (KeyboardInterrupt, typer.Abort):
        print("gemopt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FOUND
    except (ValueError, OSError) as error:
        print(f"gemopt: {error_line(error)}", file=sys.stderr)
        return USAGE
    return code if isinstance(code, int) else FOUND
