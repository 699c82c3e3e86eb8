"""The command line: one command a file, listed in `gemopt.cli.app`."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments; None means those of the process.

    Returns
    -------
    int
        0 ok, 1 infeasible or nothing found, 2 bad usage or bad input, 130 interrupted.
    """
    from gemopt.cli.app import run

    return run(argv)
