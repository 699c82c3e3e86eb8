"""Hypothesis profiles: `dev`, `ci` (the same examples every run), `deep`.

The default is `ci` where CI is set, else `dev`; ``HYPOTHESIS_PROFILE=deep pytest``
chooses another one.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

_SLOW_FIRST_CALL = [HealthCheck.too_slow]  # numba compiles on the first example
settings.register_profile(
    "dev", deadline=None, max_examples=30, suppress_health_check=_SLOW_FIRST_CALL
)
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True)
settings.register_profile("deep", settings.get_profile("dev"), max_examples=1000)
_default = "ci" if os.environ.get("CI") else "dev"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _default))

#: Files that take minutes: started first, so that no process waits for them at the end.
_LONG = ("test_exact_methods.py", "test_solver_contract.py", "test_golden.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; the order is otherwise kept."""
    items.sort(key=lambda item: item.path.name not in _LONG)
