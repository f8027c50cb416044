"""The client against a server that answers, fails, refuses and redirects as the test says."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from oip_server import OipServer, doubled

from airflow_agentic.exceptions import ModelUnavailableError, ServiceRefusedError
from airflow_agentic.openinference.client import Health, ServiceClient
from airflow_agentic.openinference.tensors import InferRequest, ModelMetadata, RequestedOutput, Tensor, TensorSpec
from airflow_agentic.spec.service import ServiceSpec

NUMBERS = InferRequest([Tensor("x", "FP32", np.array([[1.0, 2.0]], np.float32))])


@pytest.fixture
async def server() -> AsyncIterator[OipServer]:
    made = OipServer(models={"double": doubled})
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def other() -> AsyncIterator[OipServer]:
    made = OipServer(models={"double": doubled})
    await made.start()
    yield made
    await made.stop()


class Clients:
    """Clients that are closed after the test; none of them sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self._made: list[ServiceClient] = []

    def __call__(self, *servers: OipServer | str, **said: Any) -> ServiceClient:
        urls = [one if isinstance(one, str) else one.url for one in servers]
        client = ServiceClient(ServiceSpec(url=urls, **said), sleep=self._sleep)
        self._made.append(client)
        return client

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def close(self) -> None:
        for client in self._made:
            await client.close()


@pytest.fixture
async def clients() -> AsyncIterator[Clients]:
    made = Clients()
    yield made
    await made.close()


def error(status: int, said: str, **headers: str) -> web.Response:
    return web.json_response({"error": said}, status=status, headers=headers)


async def infer(client: ServiceClient, model: str = "double", **said: Any) -> list[Any]:
    response = await client.infer(model, NUMBERS, **said)
    return response.outputs[0].array.tolist()


async def test_arrays_travel_as_binary_data_where_the_server_names_that(server: OipServer, clients: Clients) -> None:
    assert await infer(clients(server)) == [[2.0, 4.0]]
    assert server.paths() == ["/v2", "/v2/models/double/infer"]
    assert server.inferred[0].binary
    assert server.requests[1][1]["content-type"] == "application/octet-stream"


async def test_a_server_without_the_extension_is_asked_in_json(server: OipServer, clients: Clients) -> None:
    server.extensions = []
    assert await infer(clients(server)) == [[2.0, 4.0]]
    assert not server.inferred[0].binary
    assert "inference-header-content-length" not in server.requests[1][1]


async def test_a_server_without_server_metadata_is_asked_in_json(server: OipServer, clients: Clients) -> None:
    server.script = [error(404, "not found")]
    assert await infer(clients(server)) == [[2.0, 4.0]]
    assert not server.inferred[0].binary


async def test_the_extension_is_asked_about_once_and_a_version_stands_in_the_path(
    server: OipServer, clients: Clients
) -> None:
    client = clients(server)
    await infer(client)
    await infer(client, version="2/3")
    assert server.paths() == ["/v2", "/v2/models/double/infer", "/v2/models/double/versions/2%2F3/infer"]


async def test_bytes_and_requested_outputs_arrive_as_they_are(server: OipServer, clients: Clients) -> None:
    server.models["echo"] = lambda request: {"same": request.inputs[0].array, "more": np.zeros(1)}
    texts = np.array([b"\xff\x00", "Straße".encode()], object)
    asked = InferRequest([Tensor("text", "BYTES", texts)], [RequestedOutput("same")])
    found = await clients(server).infer("echo", asked)
    assert found.outputs[0].array.tolist() == [b"\xff\x00", "Straße".encode()]
    assert [one.name for one in server.inferred[0].outputs] == ["same"]


async def test_the_server_hears_how_much_time_is_left(server: OipServer, clients: Clients) -> None:
    await infer(clients(server, timeout=7), timeout=3.0)
    assert 2000 < int(server.requests[1][1]["x-request-timeout-ms"]) <= 3000
    await infer(clients(server, timeout=7), timeout=30.0)
    assert 6000 < int(server.requests[-1][1]["x-request-timeout-ms"]) <= 7000


async def test_the_token_is_read_again_when_its_file_changes(
    server: OipServer, clients: Clients, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    client = clients(server, token={"file": str(path)})
    await infer(client)
    path.write_text("another")
    await infer(client)
    assert [headers["authorization"] for _, headers in server.requests] == [
        "Bearer first",
        "Bearer first",
        "Bearer another",
    ]


async def test_a_token_of_the_environment(server: OipServer, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORING_TOKEN", "s3cret")
    await infer(clients(server, token={"env": "SCORING_TOKEN"}))
    assert server.requests[0][1]["authorization"] == "Bearer s3cret"
    with pytest.raises(ServiceRefusedError) as caught:
        await infer(clients(server, token={"env": "NO_TOKEN"}))
    assert str(caught.value) == (
        "the service's token in the variable 'NO_TOKEN' is empty or not set; write the token there, or fix token"
    )


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500])
async def test_a_refusal_keeps_the_servers_message_and_is_not_tried_again(
    server: OipServer, other: OipServer, clients: Clients, status: int
) -> None:
    server.script = [web.json_response({"extensions": []}), error(status, "x: expected\n 3 numbers")]
    with pytest.raises(ServiceRefusedError) as caught:
        await infer(clients(server))
    assert str(caught.value) == f"{server.url}/v2/models/double/infer answered {status}: x: expected 3 numbers"
    assert caught.value.status == status
    assert not caught.value.retryable
    assert len(server.requests) == 2


async def test_a_refused_token_says_which_key_to_fix(server: OipServer, clients: Clients) -> None:
    server.script = [web.json_response({}), web.json_response({"detail": "no"}, status=401)]
    with pytest.raises(ServiceRefusedError, match=r" answered 401: no; fix service\.token$"):
        await infer(clients(server))


async def test_a_redirect_is_not_followed(server: OipServer, other: OipServer, clients: Clients) -> None:
    moved = web.Response(status=307, headers={"Location": f"{other.url}/v2/models/double/infer"})
    server.script = [web.json_response({}), moved]
    with pytest.raises(ServiceRefusedError) as caught:
        await infer(clients(server))
    assert str(caught.value) == (
        f"{server.url}/v2/models/double/infer answered 307: a redirect to '{other.url}/v2/models/double/infer', "
        "which is not followed; write that as service.url"
    )
    assert other.requests == []


@pytest.mark.parametrize("status", [502, 504])
async def test_a_server_that_fails_is_unavailable_and_is_not_asked_again(
    server: OipServer, clients: Clients, status: int
) -> None:
    server.script = [web.json_response({}), error(status, "worker died")]
    with pytest.raises(ModelUnavailableError) as caught:
        await infer(clients(server))
    assert str(caught.value) == f"the server {server.url} answered {status}: worker died"
    assert len(server.requests) == 2


async def test_a_busy_server_is_asked_again_after_the_wait_that_it_names(server: OipServer, clients: Clients) -> None:
    server.script = [web.json_response({}), error(429, "full", **{"Retry-After": "2"})]
    assert await infer(clients(server)) == [[2.0, 4.0]]
    assert clients.slept == [2.0]


async def test_a_wait_beyond_the_deadline_is_not_waited(server: OipServer, clients: Clients) -> None:
    server.script = [web.json_response({}), error(503, "draining", **{"Retry-After": "9"})]
    with pytest.raises(ModelUnavailableError) as caught:
        await infer(clients(server), timeout=5.0)
    assert str(caught.value) == f"the server {server.url} answered 503: draining"
    assert clients.slept == []


async def test_a_busy_server_that_names_no_wait_is_not_asked_again(server: OipServer, clients: Clients) -> None:
    server.script = [web.json_response({}), error(503, "loading")]
    with pytest.raises(ModelUnavailableError, match="answered 503: loading"):
        await infer(clients(server))
    assert len(server.requests) == 2


async def test_another_server_is_asked_at_once_in_place_of_a_busy_one(
    server: OipServer, other: OipServer, clients: Clients
) -> None:
    client = clients(server, other)
    for _ in range(4):
        server.script = [error(503, "draining")]
        other.script = []
        assert await infer(client) == [[2.0, 4.0]]
    assert clients.slept == []


async def test_a_lost_connection_is_made_anew_once(server: OipServer, clients: Clients) -> None:
    client = clients(server)
    server.script = [web.json_response({}), b""]
    assert await infer(client) == [[2.0, 4.0]]
    server.script = [b"", b"", web.json_response({})]
    with pytest.raises(ModelUnavailableError) as caught:
        await infer(client)
    assert str(caught.value) == f"the server {server.url} did not answer: Server disconnected"
    assert len(server.script) == 1


async def test_a_server_that_is_not_there(clients: Clients) -> None:
    with pytest.raises(
        ModelUnavailableError, match=r"^the server http://127\.0\.0\.1:1 did not answer: Cannot connect"
    ):
        await infer(clients("http://127.0.0.1:1"))


async def test_a_response_that_breaks_off_is_not_asked_for_again(server: OipServer, clients: Clients) -> None:
    server.script = [web.json_response({}), b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}"]
    with pytest.raises(ModelUnavailableError, match="its response broke off"):
        await infer(clients(server))
    assert len(server.requests) == 2


async def test_time_that_is_over(server: OipServer, clients: Clients) -> None:
    client = clients(server)
    await infer(client)
    with pytest.raises(ModelUnavailableError) as caught:
        await infer(client, timeout=0.0)
    assert str(caught.value) == f"the server {server.url} did not answer within 0 s"
    assert client.in_flight == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_response_beyond_the_bound_is_refused(server: OipServer, clients: Clients, chunked: bool) -> None:
    large = web.Response(body=b" " * 200_000)
    if chunked:
        large.enable_chunked_encoding()
    server.script = [web.json_response({}), large]
    with pytest.raises(ServiceRefusedError) as caught:
        await infer(clients(server, max_response=100_000))
    assert str(caught.value) == (
        f"the response of {server.url} is larger than 100,000 bytes; raise service.max_response, or ask for fewer "
        "records at once (batch.rows)"
    )


async def test_a_compressed_response_is_not_unpacked(server: OipServer, clients: Clients) -> None:
    bomb = web.Response(body=gzip.compress(b"0" * 10_000_000), headers={"Content-Encoding": "gzip"})
    server.script = [web.json_response({}), bomb]
    with pytest.raises(ServiceRefusedError, match="gave no response of the protocol: the body is not JSON"):
        await infer(clients(server, max_response=100_000))


async def test_metadata_health_and_liveness(server: OipServer, clients: Clients) -> None:
    server.metadata["double"] = {
        "versions": ["1", "2"],
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    }
    client = clients(server)
    assert await client.metadata("double") == ModelMetadata(
        "double", ("1", "2"), "test", (TensorSpec("x", "FP32", (-1, 2)),)
    )
    assert await client.server() == {"name": "test", "version": "1", "extensions": ["binary_tensor_data"]}
    assert (await client.live(), await client.ready(), await client.ready("double")) == (True, True, True)
    server.ready = False
    assert not await client.ready()
    assert await client.health("double") == [
        Health(url=server.url, ready=False, why=f"the server {server.url} answered 503: nothing")
    ]


async def test_one_ready_server_of_two_is_enough(server: OipServer, clients: Clients) -> None:
    client = clients("http://127.0.0.1:1", server)
    assert await client.ready()
    assert [one.ready for one in await client.health()] == [False, True]


async def test_a_service_of_an_airflow_connection_has_no_url_here() -> None:
    with pytest.raises(ServiceRefusedError) as caught:
        ServiceClient(ServiceSpec(connection="scoring"))
    assert str(caught.value) == (
        "the service names only the Airflow connection 'scoring'; write service: {url: http://HOST:PORT}"
    )


async def test_the_last_breaker_that_opened_says_until_when(server: OipServer, clients: Clients) -> None:
    client = clients(server)
    server.script = [web.json_response({})] + [error(502, "down") for _ in range(5)]
    for _ in range(5):
        with pytest.raises(ModelUnavailableError, match="answered 502: down"):
            await infer(client)
    with pytest.raises(ModelUnavailableError) as caught:
        await infer(client)
    assert str(caught.value).startswith(
        f"none of 1 servers is asked, as each failed repeatedly; the next one to be tried is {server.url}, in "
    )
    assert str(caught.value).endswith(f" s. It failed with: the server {server.url} answered 502: down")
    assert len(server.requests) == 6
