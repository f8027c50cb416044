"""Where a model is served: what may be written, and how layers are put over each other."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from airflow_agentic.spec.service import GatewaySpec, ServiceSpec, TokenReference, layered


def test_one_url_is_a_list_of_one() -> None:
    assert ServiceSpec(url="http://models:8080/").url == ["http://models:8080"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"url": "models:8080"}, "'models:8080' is no address of a server\nwrite http://HOST:PORT or https://HOST"),
        (
            {"url": "https://user:secret@models"},
            "'https://user:secret@models' has more than host, port and path\n"
            "remove it; a secret is named by token: {env: NAME}",
        ),
        ({"url": "http://a", "connection": "b"}, "stands beside url\nkeep one of them"),
        ({"token": {}}, "needs exactly one of env and file"),
        ({"token": {"env": "A", "file": "/b"}}, "needs exactly one of env and file"),
        (
            {"token": {"file": "secret"}},
            "'secret' is a relative path, and where it starts depends on who reads it\nwrite it as /…",
        ),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ServiceSpec.model_validate(said)
    assert caught.value.errors()[0]["msg"] == f"Value error, {message}"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"url": ["http://a", "http://b"]},
            "is one gateway's: jobs are asked for where they were made\nkeep one of them",
        ),
        ({"deferrable": False}, "names no gateway\nwrite url: http://HOST:8000, or connection: NAME"),
    ],
)
def test_a_gateway_is_one(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GatewaySpec.model_validate(said)
    assert caught.value.errors()[0]["msg"] == f"Value error, {message}"


def test_how_a_gateway_is_asked_is_what_was_said_of_it() -> None:
    said = {"connection": "gateway", "timeout": 5.0}
    assert GatewaySpec.model_validate({**said, "deferrable": False}).service.stated == said


def test_a_later_layer_wins_key_by_key() -> None:
    card = ServiceSpec(url="http://card", concurrency=2, timeout=5.0)
    assert layered(card, None, ServiceSpec(timeout=7.0)) == ServiceSpec(url="http://card", concurrency=2, timeout=7.0)


@pytest.mark.parametrize("over", [ServiceSpec(url="http://workflow"), ServiceSpec(connection="scoring")])
def test_another_server_gets_no_token_of_the_layer_below(over: ServiceSpec) -> None:
    card = ServiceSpec(url="http://card", token=TokenReference(env="CARD"), ca_file="/ca.pem", concurrency=2)
    assert layered(card, over) == ServiceSpec.model_validate({**over.stated, "concurrency": 2})
