"""Every test starts without ``GEMOPT_*`` options, and with a clean log."""

import os

import pytest

from gemopt.serving import guard


@pytest.fixture(autouse=True)
def plain_options(monkeypatch):
    for name in list(os.environ):
        if name.startswith("GEMOPT_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(guard, "_reported", set())
