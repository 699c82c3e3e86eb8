"""Solvers by name."""

import subprocess
import sys

import pytest

import gemopt
from gemopt.run import registry


def test_names():
    """Our solvers are listed in order, and every one of them loads under its name."""
    names = gemopt.solvers()
    assert names == sorted(names)
    assert {"linear", "random", "lpt", "eplb", "gem"} <= set(names)
    for name in names:
        if registry.entry(name).installed:
            assert registry.entry(name).load().name == name


def test_unknown_name_gets_the_nearest():
    """A typing error is answered with the nearest name and the list."""
    with pytest.raises(ValueError, match=r"'lpd' is unknown; did you mean 'lpt'\?"):
        registry.entry("lpd")
    with pytest.raises(ValueError, match="'xyzzy' is unknown; known: auto, "):
        gemopt.solve(None, "xyzzy")


def test_missing_package():
    """A solver whose package is missing is listed, not installed, and says why."""
    entry = registry.Entry(
        "odd", "gemopt_solvers.odd:Odd", ("no_such_package_anywhere",)
    )
    assert not entry.installed
    with pytest.raises(ValueError, match="odd needs no_such_package_anywhere"):
        entry.load()


def test_listing_imports_nothing_heavy():
    """Listing solvers and whether they are installed imports none of them."""
    code = (
        "import sys, gemopt\nfrom gemopt.run import registry\n"
        "[registry.entry(n).installed for n in gemopt.solvers()]\n"
        "heavy = {'ortools', 'sklearn', 'networkx', 'numba', 'solvers', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
