"""Models at a service answer as the same models here: every pattern, every kind of bad record, every kind of loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import tiny_models as tiny
from builders import card, workflow
from executing import ALLOWED, CARDS, World, comparable, records
from oip_server import OipServer, records_of
from test_executors_contract import COMMON, WORKFLOWS, assert_same, expected_of, models_of, plan_of

from airflow_agentic import tables
from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.coordinator.mixed_pool import pool_of
from airflow_agentic.coordinator.service_pool import ServicePool
from airflow_agentic.exceptions import ModelUnavailableError
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.pipeline.plain import PlainRecords
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.runtime import Predictor, open_predictor
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.service import ServiceSpec

MEASURED = ["latency_ms"]
GONE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def server(world: World) -> Iterator[OipServer]:
    models = {one.name: records_of(one, world.start(one)) for one in CARDS}
    with OipServer(models=models).in_thread() as made:
        yield made


def served(name: str, url: str, **runner: Any) -> Plan:
    """The plan of one of the workflows, its models at ``url``."""
    said = {"runner": "service", "service": {"url": url}, **runner}
    return compile_plan(workflow(**{**COMMON, **WORKFLOWS[name], **said}), Registry.of(*CARDS))


def answers(plan: Plan) -> list[dict[str, Any]]:
    pool = pool_of(plan, ModelPool(starter=World().start))
    return comparable(Coordinator(plan, pool=pool, allowed_handlers=ALLOWED, frozen=True).run(records()))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_all_well(name: str, server: OipServer) -> None:
    before = len(server.inferred)
    assert_same(answers(served(name, server.url)), expected_of(name))
    assert len(server.inferred) > before


@pytest.mark.parametrize("name", ["cascade", "vote", "chain", "routes without default"])
def test_one_model_is_served_by_nobody(name: str, server: OipServer) -> None:
    for model in models_of(plan_of(name)):
        cards = [
            one.model_copy(update={"service": ServiceSpec(url=[GONE])}) if one.name == model else one for one in CARDS
        ]
        cards = [
            one if one.service else one.model_copy(update={"service": ServiceSpec(url=[server.url])}) for one in cards
        ]
        spec = workflow(**{**COMMON, **WORKFLOWS[name], "runner": "service"})
        assert_same(answers(compile_plan(spec, Registry.of(*cards))), expected_of(name, model))


def test_some_here_and_some_there(server: OipServer) -> None:
    plan = served("cascade", server.url, runner={"default": "local", "models": {"b": "service"}})
    before = len(server.inferred)
    assert_same(answers(plan), expected_of("cascade"))
    assert {path.split("/")[3] for path in server.paths()[-(len(server.inferred) - before) :]} == {"b"}


async def both(
    made: ModelCard, given: pa.Table, url: str, starter: Callable[[ModelCard], Predictor] | None = None
) -> tuple[pa.Table, pa.Table]:
    """The predictions of the local runner and of the service, without what is measured."""
    local = ModelPool(starter=starter or World().start)
    remote = ServicePool({made.name: ServiceSpec(url=[url])})
    try:
        here = await local.predict(made, given, timeout=None)
        there = await remote.predict(made, given, timeout=None)
    finally:
        await local.close()
        await remote.close()
    return here.drop_columns(MEASURED), there.drop_columns(MEASURED)


async def one_by_one(made: ModelCard, given: pa.Table, url: str) -> list[dict[str, Any]]:
    """The predictions of the service, asked for each record in plain values; without what is measured."""
    remote = ServicePool({made.name: ServiceSpec(url=[url])})
    found = []
    try:
        for place in range(len(given)):
            row = pa.array([place], pa.int32())
            record = PlainRecords.of(given.slice(place, 1).append_column(tables.PREDICTION.field("row"), row))
            found += await remote.predict_few(made, record, timeout=None)
    finally:
        await remote.close()
    assert all(list(one) == tables.PREDICTION.names for one in found)
    return [{name: value for name, value in one.items() if name not in MEASURED} for one in found]


@pytest.mark.parametrize("name", [one.name for one in CARDS])
@pytest.mark.parametrize("rows", [1, 3, 40])
async def test_predictions_are_the_local_runners(name: str, rows: int, server: OipServer) -> None:
    made = next(one for one in CARDS if one.name == name)
    texts = [f"text {place}" + (f" !{name}" if place % 4 == 2 else "") for place in range(rows)]
    values = [{"a.good": 0.5, "said": text} for text in texts] if made.input == "tabular" else texts
    here, there = await both(made, inline_records(values), server.url)
    assert there.to_pylist() == here.to_pylist() == await one_by_one(made, inline_records(values), server.url)
    assert there.schema.equals(here.schema)


async def test_bad_records_are_the_local_runners(tmp_path: Path) -> None:
    made = tiny.tabular_card(tmp_path, framework="python", handler="tiny_models:classify")
    rows = [("struct", json.dumps(dict(zip(tiny.COLUMNS, row, strict=True)))) for row in tiny.ROWS.tolist()]
    bad = [("uri", "memory://nothing"), ("struct", "{"), ("struct", '{"a": "text"}'), ("text", "words")]
    given = tiny.records([*rows[:2], *bad, *rows[2:]])
    predictor = open_predictor(made, allowed_handlers=["tiny_models"])
    predictor.load()
    with OipServer(models={"tiny": records_of(made, predictor)}).in_thread() as server:
        alone = await one_by_one(made, given, server.url)
        here, there = await both(made, given, server.url, starter=lambda card: predictor)
    assert there.to_pylist() == here.to_pylist()
    assert alone == there.to_pylist()
    assert [error is not None for error in there.column("error").to_pylist()] == [False] * 2 + [True] * 4 + [False] * 4


async def test_tensors_of_a_model_that_takes_them_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(tiny.onnx_model().SerializeToString())
    said = {"framework": "onnx", "artifact": "tiny.onnx", "activation": "softmax"}
    made = card("tiny", folder=tmp_path, input="tensor", classes=tiny.LABELS, runtime=said)
    predictor = open_predictor(made)
    predictor.load()
    bad = [("tensor", "[[1, 2], [3]]"), ("tensor", "[1, 2]"), ("text", "words")]
    given = tiny.records([("tensor", json.dumps(row)) for row in tiny.ROWS.tolist()] + bad)
    network = {"tiny": lambda asked: {"logits": tiny.logits(asked.inputs[0].array)}}
    with OipServer(models=network).in_thread() as server:
        here, there = await both(made, given, server.url, starter=lambda card: predictor)
        alone = await one_by_one(made, given, server.url)
    assert there.column("label").to_pylist() == here.column("label").to_pylist()
    assert there.column("score").to_pylist() == pytest.approx(here.column("score").to_pylist(), abs=1e-6)
    assert [one["label"] for one in alone] == here.column("label").to_pylist()
    for column in (*(table.column("error").to_pylist() for table in (here, there)), [one["error"] for one in alone]):
        assert [error and error["code"] for error in column][-3:] == ["bad_value", "model_error", "wrong_input"]


async def test_requests_are_cut_by_rows_and_bytes_and_sent_together(server: OipServer) -> None:
    made = card("a", classes=("bad", "fair", "good"), batch={"rows": 3})
    given = inline_records([f"text {place}" for place in range(10)])
    server.inferred.clear()
    here, there = await both(made, given, server.url)
    assert there.to_pylist() == here.to_pylist()
    assert sorted(len(asked.inputs[0].array) for asked in server.inferred) == [1, 3, 3, 3]


async def test_the_service_is_asked_for_the_cards_version(server: OipServer) -> None:
    made = CARDS[0].model_copy(update={"version": "7"})
    await both(made, inline_records(["text"]), server.url)
    assert server.paths()[-1] == "/v2/models/a/versions/7/infer"


async def test_a_killed_pool_answers_nothing_any_more(server: OipServer) -> None:
    pool = ServicePool({"a": ServiceSpec(url=[server.url])})
    pool.kill()
    with pytest.raises(ModelUnavailableError) as caught:
        await pool.predict(CARDS[0], inline_records(["text"]), timeout=None)
    assert str(caught.value) == "'a' was not asked: whoever runs this was told to stop"
