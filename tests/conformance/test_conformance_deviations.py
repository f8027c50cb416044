"""What is written down of a server is of rules that exist."""

from __future__ import annotations

import pytest
from conformance_deviations import DEVIATIONS, rule_of
from conformance_targets import TARGETS


def test_every_deviation_is_of_a_rule(request: pytest.FixtureRequest) -> None:
    rules = {rule_of(item) for item in request.session.items}
    functions = {rule.partition("[")[0] for rule in rules}
    assert DEVIATIONS.keys() <= TARGETS.keys()
    for deviations in DEVIATIONS.values():
        asked = {rule for rule in deviations if rule.partition("[")[0] in functions}
        assert asked <= rules
