"""A card whose model is at a server: encoded here, answered there, decoded here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from oip_server import OipServer
from runtime_samples import card, records, texts

from airflow_agentic.exceptions import ModelLoadError, ModelUnavailableError, ServiceRefusedError
from airflow_agentic.openinference.tensors import InferRequest
from airflow_agentic.registry import card_digest
from airflow_agentic.runtime import Predictor, open_predictor, predict_records, start
from airflow_agentic.spec.model import ModelCard

NUMBERS: dict[str, Any] = {
    "inputs": [{"name": "row", "datatype": "FP64", "shape": [-1, 2]}],
    "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}],
}
TEXTS: dict[str, Any] = {"inputs": [{"name": "texts", "datatype": "BYTES", "shape": [-1, 1]}]}


def shares(request: InferRequest) -> Mapping[str, Any] | web.Response:
    """Each row's numbers as shares of their sum; a row without one is refused with the whole request."""
    row = request.inputs[0].array
    if not row.sum(axis=1).all():
        return web.json_response({"error": "a row sums to 0"}, status=422)
    return {"p": (row / row.sum(axis=1, keepdims=True)).astype(np.float32)}


def lengths(request: InferRequest) -> Mapping[str, Any]:
    return {"length": np.array([len(text) for text in request.inputs[0].array.ravel()], np.int64)}


@pytest.fixture
def server() -> Iterator[OipServer]:
    models = {"shares": shares, "lengths": lengths}
    with OipServer(models=models, metadata={"shares": NUMBERS, "lengths": TEXTS}).in_thread() as made:
        yield made


def numbers_card(url: str, **runtime: Any) -> ModelCard:
    said = {"framework": "open-inference", "model": "shares", "tabular": {"columns": ["a", "b"]}, **runtime}
    return card(input="tabular", runtime=said, service={"url": url}, isolation="inline")


def texts_card(url: str, **runtime: Any) -> ModelCard:
    said = {"framework": "open-inference", "model": "lengths", **runtime}
    return card(runtime=said, output={"value": "characters"}, service={"url": url}, isolation="inline")


def loaded(made: ModelCard) -> Predictor:
    predictor = open_predictor(made)
    predictor.load()
    return predictor


def rows(*values: tuple[float, float]) -> Any:
    return records(*(("struct", json.dumps({"a": a, "b": b})) for a, b in values))


def test_numbers_go_out_as_the_server_declares_and_scores_come_back(server: OipServer) -> None:
    predictor = loaded(numbers_card(server.url, version="3"))
    found = predictor.predict(rows((1.0, 3.0), (4.0, 1.0)))
    predictor.close()
    assert found.column("label").to_pylist() == ["yes", "no"]
    assert found.column("score").to_pylist() == pytest.approx([0.75, 0.8])
    asked = server.inferred[0].inputs[0]
    assert (asked.name, asked.datatype, asked.array.shape) == ("row", "FP64", (2, 2))
    assert server.paths() == ["/v2/models/shares/versions/3", "/v2", "/v2/models/shares/versions/3/infer"]


def test_texts_go_out_as_bytes_with_the_axis_that_the_server_declares(server: OipServer) -> None:
    predictor = loaded(texts_card(server.url))
    found = predictor.predict(texts("day", "Straße"))
    predictor.close()
    assert found.column("value").to_pylist() == [3.0, 7.0]
    assert server.inferred[0].inputs[0].array.tolist() == [[b"day"], ["Straße".encode()]]


def test_in_the_model_process(server: OipServer) -> None:
    process = start(texts_card(server.url).model_copy(update={"isolation": "process"}))
    assert process.predict(texts("day")).column("value").to_pylist() == [3.0]
    server.script = [web.json_response({"error": "full"}, status=503)]
    with pytest.raises(ModelUnavailableError) as caught:
        process.predict(texts("day"))
    process.close()
    assert str(caught.value) == f"the server {server.url} answered 503: full"


def test_a_record_that_the_server_refuses_does_not_fail_the_others(server: OipServer) -> None:
    made = numbers_card(server.url)
    predictor = loaded(made)
    found = predict_records(predictor, made, rows((1.0, 3.0), (0.0, 0.0), (4.0, 1.0)))
    predictor.close()
    assert found.column("label").to_pylist() == ["yes", None, "no"]
    assert found.column("error").to_pylist()[1] == {
        "code": "model_error",
        "message": f"{server.url}/v2/models/shares/infer answered 422: a row sums to 0",
        "retryable": False,
    }


def test_a_model_that_is_gone_fails_the_call(server: OipServer) -> None:
    made = numbers_card(server.url)
    predictor = loaded(made)
    del server.models["shares"]
    with pytest.raises(ServiceRefusedError, match="answered 404: no model 'shares'"):
        predict_records(predictor, made, rows((1.0, 3.0)))
    predictor.close()


def test_a_model_that_the_server_does_not_have_is_not_loaded(server: OipServer) -> None:
    with pytest.raises(ServiceRefusedError) as caught:
        loaded(numbers_card(server.url, model="another"))
    assert str(caught.value) == f"{server.url}/v2/models/another answered 404: no model 'another'"


def test_an_output_that_the_server_does_not_declare(server: OipServer) -> None:
    with pytest.raises(ModelLoadError) as caught:
        loaded(numbers_card(server.url, output_name="q"))
    assert str(caught.value) == "model 'm': runtime.output_name 'q' is not one of its outputs: p"


def test_only_the_named_output_is_asked_for(server: OipServer) -> None:
    predictor = loaded(numbers_card(server.url, output_name="p"))
    predictor.predict(rows((1.0, 3.0)))
    predictor.close()
    assert [one.name for one in server.inferred[0].outputs] == ["p"]


def test_a_server_that_declares_no_inputs_needs_the_name(server: OipServer) -> None:
    server.metadata.clear()
    predictor = loaded(texts_card(server.url))
    with pytest.raises(ModelLoadError) as caught:
        predictor.predict(texts("day"))
    predictor.close()
    assert str(caught.value) == (
        "model 'm': its server does not say what the model's inputs are called; write runtime.input_name"
    )
    predictor = loaded(texts_card(server.url, input_name="said"))
    assert predictor.predict(texts("day")).column("value").to_pylist() == [3.0]
    predictor.close()
    assert server.inferred[0].inputs[0].name == "said"


def test_the_digest_has_model_and_version_at_the_server_and_not_its_url() -> None:
    one = numbers_card("http://one")
    assert card_digest(one) == card_digest(numbers_card("http://two"))
    assert card_digest(one) != card_digest(numbers_card("http://one", model="other"))
    assert card_digest(one) != card_digest(numbers_card("http://one", version="2"))
