"""Where models are served: the environment's URLs, and servers that have another version of the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiohttp import web
from executing import CARDS, World
from oip_server import OipServer, records_of

from airflow_agentic.coordinator.service_pool import URL_VARIABLE, ServicePool, located
from airflow_agentic.exceptions import ServiceRefusedError
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.spec.service import ServiceSpec

CARD = CARDS[0].model_copy(update={"version": "0"})
"""The server calls itself version 1."""


@pytest.fixture
def server() -> Iterator[OipServer]:
    world = World()
    with OipServer(models={CARD.name: records_of(CARD, world.start(CARD))}).in_thread() as made:
        yield made


def gone() -> web.Response:
    return web.json_response({"error": "no version '0'"}, status=404)


async def test_the_current_version_answers_where_the_cards_is_gone(server: OipServer) -> None:
    pool = ServicePool({CARD.name: ServiceSpec(url=[server.url], other_versions=True)})
    try:
        first = await pool.predict(CARD, inline_records(["good"]), timeout=5)
        server.script.append(gone())
        second = await pool.predict(CARD, inline_records(["good"]), timeout=5)
    finally:
        await pool.close()
    assert [one.column("model_version").to_pylist() for one in (first, second)] == [["0"], ["1"]]
    assert second.column("label").to_pylist() == first.column("label").to_pylist()
    assert server.paths()[-2:] == ["/v2/models/a/versions/0/infer", "/v2/models/a/infer"]


async def test_no_other_version_answers_by_default(server: OipServer) -> None:
    pool = ServicePool({CARD.name: ServiceSpec(url=[server.url])})
    try:
        await pool.predict(CARD, inline_records(["good"]), timeout=5)
        server.script.append(gone())
        with pytest.raises(ServiceRefusedError, match="no version '0'"):
            await pool.predict(CARD, inline_records(["good"]), timeout=5)
    finally:
        await pool.close()


async def test_a_server_with_another_version_is_ready_where_that_may_answer(server: OipServer) -> None:
    for allowed in (True, False):
        pool = ServicePool({CARD.name: ServiceSpec(url=[server.url], other_versions=allowed)})
        server.script.append(gone())
        try:
            if allowed:
                await pool.prepare(CARD)
            else:
                with pytest.raises(Exception, match="no server has 'a' version '0' ready"):
                    await pool.prepare(CARD)
        finally:
            await pool.close()


def test_the_environment_says_where_models_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://all:1, a=http://a:1,http://all:2,a=http://a:2")
    said = ServiceSpec(url=["http://said"])
    found = located({"a": ServiceSpec(timeout=3), "b": ServiceSpec(), "c": said})
    assert {name: service.url for name, service in found.items()} == {
        "a": ["http://a:1", "http://a:2"],
        "b": ["http://all:1", "http://all:2"],
        "c": ["http://said"],
    }
    assert found["a"].timeout == 3


def test_without_the_environment_services_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    assert located({"a": ServiceSpec()}) == {"a": ServiceSpec()}
