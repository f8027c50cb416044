"""What a test needs besides this process, and what follows where it is not there."""

from __future__ import annotations

import os

import pytest


def require(found: object, how: str) -> None:
    """Go on if ``found``; else skip, or fail under ``REQUIRE_SERVICES=1``.

    :param how: what is missing and the command that provides it: "needs the example models: make models".
    """
    if found:
        return
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(how, pytrace=False)
    pytest.skip(how)
