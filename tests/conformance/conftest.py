"""The suite runs over each server of ``conformance_targets``; where one is known to differ, the rule must fail."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from conformance_deviations import DEVIATIONS, rule_of
from conformance_targets import TARGETS, Target

FAILURES = (AssertionError, KeyError, ValueError, pytest.fail.Exception, grpc.RpcError)
"""How a rule may fail: a value that is not as it says, no JSON, no error where one must be, an error where none may."""


@pytest.fixture(scope="session", params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server, started once."""
    with TARGETS[request.param](tmp_path_factory.mktemp(request.param)) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect what is written down: a rule that is broken where it is not, or holds where it is, fails."""
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        reason = DEVIATIONS.get(parameters.get("target", ""), {}).get(rule_of(item))
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True, raises=FAILURES))
