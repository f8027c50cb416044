from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from builders import card
from serving_samples import Cards, Client, Clock, FakeLoaded, body, doubled, errors, process_card

from airflow_agentic.exceptions import (
    DeadlineError,
    ModelError,
    ModelMemoryError,
    ModelUnavailableError,
    OverloadedError,
    RecordError,
)
from airflow_agentic.serving.batching import Bounds
from airflow_agentic.serving.errors import http_status
from airflow_agentic.serving.model_server import ModelServer

ROW = (1.0, 2.0)


class Model(FakeLoaded):
    """Raises what it is told."""

    error: BaseException | None = None
    refusal: Exception | None = None

    def run(self, given: Any) -> Any:
        if self.error is not None:
            raise self.error
        return super().run(given)

    def refuse(self, answered: Any, asked: Any) -> None:
        del answered, asked
        if self.refusal is not None:
            raise self.refusal


class Serving:
    """A server with the models ``fake`` (inline) and ``apart`` (as if in a process)."""

    def __init__(self, bounds: Bounds = Bounds(requests=1)) -> None:  # noqa: B008  # a constant
        self.cards = Cards(card(), process_card("apart"))
        self.model = self.cards.models["fake", "1"] = Model()
        self.apart = self.cards.models["apart", "1"] = Model(process=True)
        self.repository = self.cards.repository(bounds)
        self.server = ModelServer(self.repository, body_bytes=20_000, body_seconds=30.0)
        self.client = Client(self.server)


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    found = Serving()
    await found.repository.start()
    yield found
    await found.repository.close()


@pytest.mark.parametrize("name", ["fake", "apart"])
async def test_a_request_is_answered(serving: Serving, name: str) -> None:
    for path in (f"/v2/models/{name}/infer", f"/v2/models/{name}/versions/1/infer"):
        answer = await serving.client.ask(path, body(ROW, id="7"))
        assert answer is not None
        assert (answer.status, answer.headers) == (
            200,
            {"content-type": "application/json", "content-length": str(len(answer.body))},
        )
        assert answer.json == {
            "model_name": name,
            "model_version": "1",
            "id": "7",
            "outputs": [
                {"name": "y", "shape": [1, 2], "datatype": "FP32", "data": [2.0, 4.0]},
                {"name": "size", "shape": [1], "datatype": "INT64", "data": [1]},
            ],
        }


async def test_a_request_gets_the_outputs_that_it_names_also_hidden_ones(serving: Serving) -> None:
    answer = await serving.client.infer(body(ROW, outputs=[{"name": "error"}, {"name": "y"}]))
    assert [one["name"] for one in answer.json["outputs"]] == ["error", "y"]


async def test_binary_tensors_come_and_go_after_the_json(serving: Serving) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    content = head + np.array(ROW, np.float32).tobytes()
    answer = await serving.client.infer(content, headers={"Inference-Header-Content-Length": str(len(head))})
    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(answer.body[length : length + 8], np.float32).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("rows", [300, 900])
async def test_gzip_comes_and_goes(serving: Serving, rows: int) -> None:
    content = gzip.compress(body(*[ROW] * rows))
    answer = await serving.client.infer(content, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert json.loads(gzip.decompress(answer.body))["outputs"][0]["shape"] == [rows, 2]


async def test_large_bodies_are_packed_and_unpacked_beside_the_loop(serving: Serving) -> None:
    rng = np.random.default_rng(1)
    rows = [tuple(row) for row in rng.normal(size=(400, 2)).tolist()]
    content = gzip.compress(body(*rows))
    assert len(content) > 1024
    answer = await serving.client.infer(content, headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert json.loads(gzip.decompress(answer.body))["outputs"][0]["shape"] == [400, 2]


async def test_a_small_answer_is_not_packed(serving: Serving) -> None:
    answer = await serving.client.infer(body(ROW), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("path", "method", "content", "headers", "status", "error"),
    [
        ("/v2/models/fake/infer", "POST", b"{", {}, 400, None),
        (
            "/v2/models/fake/infer",
            "POST",
            b'{"inputs": []}',
            {},
            400,
            "inputs: expected a list of one tensor or more, found []",
        ),
        (
            "/v2/models/fake/infer",
            "POST",
            b'{"inputs": [{"name": "z", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}',
            {},
            400,
            "inputs: the model has no input 'z', only x",
        ),
        (
            "/v2/models/fake/infer",
            "POST",
            body(ROW),
            {"X-Request-Timeout-Ms": "soon"},
            400,
            "X-Request-Timeout-Ms: expected a whole number, found 'soon'",
        ),
        (
            "/v2/models/fake/infer",
            "POST",
            body(ROW, outputs=[{"name": "z"}]),
            {},
            400,
            "outputs: the model has no output 'z', only y, size, error",
        ),
        ("/v2/models/fak/infer", "POST", b"", {}, 404, "no model is called 'fak' here; did you mean 'fake'?"),
        (
            "/v2/models/fake/versions/2/infer",
            "POST",
            b"",
            {},
            404,
            "model 'fake' has no version '2' here; there are: 1",
        ),
        ("/v1/infer", "POST", b"", {}, 404, "no such path: /v1/infer; it is /v2/models/NAME/infer"),
        ("/v2/models/fake/infer", "GET", b"", {}, 405, "GET /v2/models/fake/infer: use POST"),
        (
            "/v2/models/fake/infer",
            "POST",
            body(ROW),
            {"Content-Encoding": "br"},
            415,
            "Content-Encoding 'br' is not known; use gzip, deflate or none",
        ),
        ("/v2/nothing", "GET", b"", {}, 404, "no such path: /v2/nothing; see /docs for those that there are"),
        ("/v2/models", "DELETE", b"", {}, 405, "DELETE /v2/models: use GET"),
        ("/v2/models/x", "GET", b"", {}, 404, "no model is called 'x' here; there are: apart, fake"),
    ],
)
async def test_refusals(
    serving: Serving, path: str, method: str, content: bytes, headers: Any, status: int, error: str | None
) -> None:
    answer = await serving.client.ask(path, content, method=method, headers=headers)
    assert answer is not None
    assert answer.status == status
    assert error in {None, answer.error}
    assert answer.headers["content-type"] == "application/json"
    assert "connection" not in answer.headers


async def test_405_says_which_methods_there_are(serving: Serving) -> None:
    for path, allowed in [("/v2/models/fake/infer", "POST"), ("/v2/health/live", "GET")]:
        answer = await serving.client.ask(path, method="PUT")
        assert answer is not None
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


async def test_a_body_that_is_too_large_is_refused_and_the_rest_of_it_read(serving: Serving) -> None:
    answer = await serving.client.infer([b"x" * 20_000, b"x", b"x"])
    assert answer.status == 413
    assert answer.error == "the body has more than 20,000 bytes; send fewer records at once"
    assert answer.headers["connection"] == "close"
    assert answer.parts == 2


async def test_a_body_that_says_it_is_too_large_is_refused_unread(serving: Serving) -> None:
    answer = await serving.client.infer(b"", headers={"Content-Length": "1000000000"})
    assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_a_body_that_is_too_slow_is_refused() -> None:
    found = Serving()
    clock = Clock()
    found.server = ModelServer(found.repository, body_seconds=30.0, clock=clock)
    sent: list[Any] = []

    async def receive() -> Any:
        if sent:
            return {"type": "http.disconnect"}
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/fake/infer", "headers": []}
    asked = asyncio.ensure_future(found.server(scope, receive, send))
    await asyncio.sleep(0)
    clock.now += 31.0
    found.server._bodies.end_late()
    await asked
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_client_that_goes_before_its_body_is_whole_gets_nothing(serving: Serving) -> None:
    assert await serving.client.ask("/v2/models/fake/infer", [], gone=True) is None


async def test_a_client_that_goes_takes_its_request_along(serving: Serving) -> None:
    go, begun = threading.Event(), threading.Event()

    def slow(given: Any) -> Any:
        begun.set()
        go.wait()
        return doubled(given)

    serving.apart._work = slow
    first = asyncio.create_task(serving.client.infer(body(ROW), "apart"))
    while not begun.is_set():
        await asyncio.sleep(0)
    assert await serving.client.ask("/v2/models/apart/infer", body(ROW), gone=True) is None
    go.set()
    assert (await first).status == 200
    assert (await serving.client.infer(body(ROW), "apart")).status == 200


async def test_too_many_waiting_requests_are_429_with_retry_after(serving: Serving) -> None:
    go, begun = threading.Event(), threading.Event()

    def slow(given: Any) -> Any:
        begun.set()
        go.wait()
        return doubled(given)

    serving.apart._work = slow
    asked = [asyncio.create_task(serving.client.infer(body(ROW), "apart"))]
    while not begun.is_set():
        await asyncio.sleep(0)
    asked.append(asyncio.create_task(serving.client.infer(body(ROW), "apart")))
    for _ in range(10):
        await asyncio.sleep(0)
    refused = await serving.client.infer(body(ROW), "apart")
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert refused.error == "1 requests wait already (0 MiB); ask later, or less at once"
    go.set()
    assert [(await one).status for one in asked] == [200, 200]


async def test_a_model_that_is_not_ready_is_503_with_retry_after(serving: Serving) -> None:
    model = serving.repository.find("apart")
    model.state, model.why, model._load_seconds = "restarting", "its process ended", 41.5
    answer = await serving.client.infer(body(ROW), "apart")
    assert (answer.status, answer.headers["retry-after"]) == (503, "42")
    assert answer.error == "model 'apart' version '1' is restarting: its process ended"


async def test_a_request_without_time_is_504(serving: Serving) -> None:
    answer = await serving.client.infer(body(ROW), "apart", headers={"X-Request-Timeout-Ms": "0"})
    assert (answer.status, answer.error) == (504, "the request's time was over before the model answered")


@pytest.mark.parametrize("name", ["fake", "apart"])
async def test_a_model_that_raises_is_500_and_the_log_has_nothing_of_its_text(
    serving: Serving, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    serving.model.error = serving.apart.error = KeyError("a secret")
    answer = await serving.client.infer(body(ROW), name)
    assert (answer.status, answer.error) == (500, "the model raised KeyError: 'a secret'")
    (message,) = errors(caplog)
    assert message.startswith(f"a request to '/v2/models/{name}/infer' failed: KeyError, raised at\n")
    assert "in run" in message
    assert "a secret" not in message


@pytest.mark.parametrize(
    ("refusal", "status", "logged"),
    [
        (RecordError("not_an_image", "record 0 of 1 has no answer: secret"), 400, []),
        (
            RecordError("model_error", "record 0 of 1 has no answer: secret"),
            500,
            [
                "a request to '/v2/models/fake/infer' failed: its record has the error 'model_error', "
                "which the client was told"
            ],
        ),
        (ModelError("too few rows"), 500, ["a request to '/v2/models/fake/infer' failed: too few rows"]),
    ],
)
async def test_a_record_without_an_answer(
    serving: Serving, refusal: Exception, status: int, logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    serving.model.refusal = refusal
    answer = await serving.client.infer(body(ROW))
    assert (answer.status, answer.error, errors(caplog)) == (status, str(refusal), logged)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OverloadedError("x"), 429),
        (DeadlineError("x"), 504),
        (ModelMemoryError("x"), 503),
        (ModelUnavailableError("x"), 503),
        (ModelError("x"), 500),
        (ValueError("x"), 500),
    ],
)
def test_statuses(error: Exception, status: int) -> None:
    assert http_status(error) == status


async def test_draining_answers_but_is_not_ready_and_closes(serving: Serving) -> None:
    assert (await serving.client.get("/v2/health/ready")).json == {"ready": True}
    serving.server.drain()
    ready, live, model, inferred, unknown = await asyncio.gather(
        serving.client.get("/v2/health/ready"),
        serving.client.get("/v2/health/live"),
        serving.client.get("/v2/models/fake/ready"),
        serving.client.infer(body(ROW)),
        serving.client.infer(body(ROW), "nothing"),
    )
    assert [one.status for one in (ready, live, model, inferred, unknown)] == [503, 200, 503, 200, 404]
    assert {one.headers["connection"] for one in (ready, live, model, inferred, unknown)} == {"close"}


async def test_health_and_metadata(serving: Serving) -> None:
    get = serving.client.get
    assert (await get("/v2/health/live")).json == {"live": True}
    assert (await get("/v2")).json["name"] == "airflow-agentic"
    assert (await get("/v2/models")).json == {"models": ["apart", "fake"]}
    for path in ("/v2/models/fake", "/v2/models/fake/versions/1"):
        assert (await get(path)).json == {
            "name": "fake",
            "versions": ["1"],
            "platform": "airflow-agentic_python",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [
                {"name": "y", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "size", "datatype": "INT64", "shape": [-1]},
            ],
            "properties": {},
        }
    assert (await get("/v2/models/fake/ready")).json == {"name": "fake", "ready": True}
    serving.repository.find("fake").state = "restarting"
    answer = await get("/v2/models/fake/ready")
    assert (answer.status, answer.json) == (503, {"name": "fake", "ready": False})
    assert (await get("/v2/health/ready")).status == 200
    index = await serving.client.ask("/v2/repository/index")
    assert index is not None
    assert index.json == [
        {"name": "apart", "version": "1", "state": "READY", "reason": ""},
        {"name": "fake", "version": "1", "state": "RESTARTING", "reason": ""},
    ]


async def test_it_describes_itself(serving: Serving) -> None:
    paths = (await serving.client.get("/openapi.json")).json["paths"]
    assert set(paths["/v2/models/{name}/ready"]["get"]["responses"]) == {"200", "503", "4XX"}
    assert (await serving.client.get("/docs")).status == 200


async def test_the_inference_path_never_meets_fastapi(serving: Serving) -> None:
    async def never(*_: Any) -> None:
        raise AssertionError("asked")

    serving.server._app = never
    assert (await serving.client.infer(body(ROW))).status == 200
