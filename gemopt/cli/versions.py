"""``gemopt show-versions``: what a bug report needs."""

from __future__ import annotations

from gemopt.cli.common import JsonOption, print_json

_PACKAGES = (
    "numpy",
    "numba",
    "scipy",
    "networkx",
    "scikit-learn",
    "ortools",
    "highspy",
    "pydantic",
    "safetensors",
    "joblib",
    "typer",
    "torch",
    "triton",
    "matplotlib",
)


def command(as_json: JsonOption = False) -> int:
    """Print the versions of gemopt, Python and the packages it uses."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from gemopt import __version__

    facts = {
        "gemopt": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
    }
    for package in _PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = None
    if as_json:
        print_json(facts)
        return 0
    for name, value in facts.items():
        print(f"{name:14} {value if value is not None else 'not installed'}")
    return 0
