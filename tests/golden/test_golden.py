"""Placements stay the same bytes: a refactoring must not move any of them."""

import json

import pytest

from tests.golden.cases import DIGESTS, solver_cases
from tests.golden.policy_cases import policy_cases

WANTED = json.loads(DIGESTS.read_text())
CASES = dict((*solver_cases(), *policy_cases()))


@pytest.mark.parametrize("label", CASES)
def test_placement_is_unchanged(label):
    """The placement has the digest that is stored for it."""
    assert CASES[label]() == WANTED[label]


def test_every_digest_has_a_case():
    """No stored digest is left over from a case that is gone."""
    assert set(WANTED) == set(CASES)
