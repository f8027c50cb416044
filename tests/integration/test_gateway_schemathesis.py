"""The gateway against its own OpenAPI description: no 5xx, nothing that the description does not say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from described import held_against_its_description
from gateway_process import Process, healthy, project, running


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running(project(tmp_path_factory.mktemp("project")), "--workflow", "quick") as process:
        yield process


def test_it_does_what_it_says(gateway: Process, tmp_path: Path) -> None:
    before = gateway.memory
    held_against_its_description(gateway.url, tmp_path, allowed=504)  # a request may ask for an answer in 1 ms
    assert gateway.memory - before < 100 * 2**20
    assert healthy(gateway)
