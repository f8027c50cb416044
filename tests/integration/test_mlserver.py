"""Cards of framework open-inference against MLServer, a server that nobody here wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import card
from mlserver_environment import mlserver, served

from airflow_agentic.coordinator import Coordinator
from airflow_agentic.exceptions import ServiceRefusedError
from airflow_agentic.openinference.client import ServiceClient
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.runtime import open_predictor
from airflow_agentic.spec import workflow_from
from airflow_agentic.spec.service import ServiceSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from airflow_agentic.spec.model import ModelCard

MODELS: dict[str, dict[str, Any]] = {
    "scores": {
        "implementation": "mlserver_models.Scores",
        "parameters": {"version": "v2"},
        "inputs": [{"name": "row", "datatype": "FP64", "shape": [-1, 3]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
    },
    "lengths": {
        "implementation": "mlserver_models.Lengths",
        "inputs": [{"name": "texts", "datatype": "BYTES", "shape": [-1]}],
    },
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(mlserver(), tmp_path_factory.mktemp("mlserver"), MODELS) as found:
        yield found


def scores_card(url: str, **runtime: Any) -> ModelCard:
    said = {"framework": "open-inference", "tabular": {"columns": ["a", "b", "c"]}, "activation": "softmax", **runtime}
    return card(
        "scores",
        task="tabular-classification",
        input="tabular",
        classes=["x", "y", "z"],
        runtime=said,
        service={"url": url},
    )


def lengths_card(url: str, **changes: Any) -> ModelCard:
    said = {"framework": "open-inference", "model": "lengths"}
    return card("counter", output={"value": "characters"}, runtime=said, service={"url": url}, **changes)


def answered(model: ModelCard, *inputs: Any) -> pa.Table:
    """The answers of a workflow of one model."""
    spec = workflow_from({"name": "served", "routes": [{"use": model.name}]})
    plan = compile_plan(spec, Registry.of(model))
    return Coordinator(plan).run(inline_records(list(inputs), allowed_uris=None))


def test_numbers_in_class_scores_out(url: str) -> None:
    found = answered(scores_card(url), {"a": 1, "b": 2, "c": 0}, {"a": 3, "b": 0, "c": 1})
    powers = np.exp([[1, 2, 0], [3, 0, 1]])
    assert found.column("label").to_pylist() == ["y", "x"]
    assert found.column("score").to_pylist() == pytest.approx((powers / powers.sum(axis=1, keepdims=True)).max(axis=1))


def test_its_version_can_be_named(url: str) -> None:
    assert answered(scores_card(url, version="v2"), {"a": 1, "b": 2, "c": 0}).column("label").to_pylist() == ["y"]
    predictor = open_predictor(scores_card(url, version="v9"))
    with pytest.raises(ServiceRefusedError, match=r"/v2/models/scores/versions/v9 answered 404: "):
        predictor.load()


def test_strings_in_a_number_out(url: str) -> None:
    assert answered(lengths_card(url), "day", "Straße").column("value").to_pylist() == [3.0, 6.0]


def test_from_a_model_process(url: str) -> None:
    found = answered(lengths_card(url, isolation="process"), "day", "night")
    assert found.column("value").to_pylist() == [3.0, 5.0]


def test_a_record_that_it_refuses_does_not_fail_the_others(url: str) -> None:
    found = answered(scores_card(url), {"a": 1, "b": 2, "c": 0}, {"a": -1, "b": 0, "c": 0}, {"a": 3, "b": 0, "c": 1})
    assert found.column("label").to_pylist() == ["y", None, "x"]
    error = found.column("error").to_pylist()[1]
    assert error["code"] == "model_error"
    assert error["message"].endswith("/v2/models/scores/infer answered 400: a number is negative")


async def test_health_and_metadata(url: str) -> None:
    client = ServiceClient(ServiceSpec(url=url))
    try:
        assert await client.live()
        assert await client.ready()
        assert await client.ready("scores")
        assert not await client.ready("another")
        metadata = await client.metadata("scores")
        assert [(one.name, one.datatype, one.shape) for one in metadata.inputs] == [("row", "FP64", (-1, 3))]
        assert (await client.server())["name"] == "mlserver"
    finally:
        await client.close()
