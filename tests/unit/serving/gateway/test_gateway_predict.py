"""``POST /predict``: one record, many records, and what is wrong with a request."""

from __future__ import annotations

from typing import Any

import pytest
from executing import World
from gateways import asking, moods

from airflow_agentic import tables

JSON = {"content-type": "application/json"}


async def test_one_record() -> None:
    async with asking() as client:
        answer = await client.post("/predict", json={"task": "text-analysis", "input": "fine"})
    assert answer.status_code == 200
    document = answer.json()
    assert {name: document[name] for name in ("task", "model", "degraded", "calls", "workflow")} == {
        "task": "text-analysis",
        "model": "ensemble(a, b, c)",
        "degraded": False,
        "calls": 3,
        "workflow": "moods",
    }
    assert [one["version"] for one in document["route"]["predictions"]] == ["1", "1", "1"]
    assert answer.headers["content-type"] == "application/json"


async def test_a_model_that_answers_alone_is_named_with_its_version() -> None:
    async with asking(specs=[moods("a")]) as client:
        document = (await client.post("/predict", json={"input": "fine"})).json()
    assert (document["model"], document["version"]) == ("a", "1")


async def test_records_are_answered_in_order_and_a_bad_one_is_one_error() -> None:
    given = ["one", {"record_id": "b", "text": "two"}, {"record_id": "c", "texd": "x"}, 7]
    async with asking() as client:
        answer = await client.post("/predict", json={"task": "text-analysis", "records": given})
    document = answer.json()
    assert answer.status_code == 200
    assert (document["records"], document["failed"]) == (4, 2)
    assert [one.get("error") for one in document["answers"]] == [
        None,
        None,
        {
            "code": "bad_record",
            "message": "records[2]: /records/2/texd: 'texd' is no field; did you mean 'text'?; "
            "/records/2/input: expected one of input, text, uri, bytes, found none of them",
            "retryable": False,
        },
        {
            "code": "bad_record",
            "message": "records[3]: /records/3: a record is an object or a text, found a number",
            "retryable": False,
        },
    ]
    assert [one["record_id"] for one in document["answers"]][1:3] == ["b", "c"]


@pytest.mark.parametrize(
    ("document", "errors"),
    [
        (
            {"taks": "text-analysis", "input": "x"},
            [("/taks", "'taks' is no field; did you mean 'task'?")],
        ),
        (
            {"task": "text-analysys", "input": "x"},
            [("/task", "no workflow does the task 'text-analysys'; did you mean 'text-analysis'?")],
        ),
        (
            {"workflow": "mods", "input": "x"},
            [("/workflow", "no workflow is called 'mods'; did you mean 'moods'?")],
        ),
        (
            {"task": "text-analysis", "input": "x", "text": "y", "max_cost": -1, "language": 3},
            [
                ("/max_cost", "expected a number from 0, found -1"),
                ("/language", "expected a text, found 3"),
                ("/text", "expected one of input, text, uri, bytes, found 'input' and 'text'"),
            ],
        ),
        (
            {"task": "text-analysis", "input": 3.5},
            [("/input", "expected a text, an object or lists of numbers, found 3.5")],
        ),
        (
            {"task": "text-analysis", "input": "x", "mode": "asynch"},
            [("/mode", "'asynch' is no mode; did you mean 'async'?")],
        ),
        (
            {"task": "text-analysis", "records": [], "input": "x"},
            [
                ("/input", "'input' stands beside 'records'; put it into each record"),
                ("/records", "expected a list of at least one record, found a list"),
            ],
        ),
        (
            {"task": "text-analysis", "input": "x", "features": {"task": 1, "size": [1]}},
            [
                ("/features/task", "'task' is a column of every record; give yours another name"),
                ("/features/size", "expected text, a number, true/false or null, found a list"),
            ],
        ),
    ],
)
async def test_wrong_fields_are_named_all_at_once(document: dict[str, Any], errors: list[tuple[str, str]]) -> None:
    async with asking() as client:
        answer = await client.post("/predict", json=document)
    problem = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "/problems/invalid-request"
    assert [(one["pointer"], one["detail"]) for one in problem["errors"]] == errors


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b"{", JSON, 400, "the body is no JSON: unexpected end of data at line 1, column 2"),
        (b"", JSON, 400, "the body is no JSON: Input is a zero-length, empty document at line 1, column 1"),
        (
            b'{"input": NaN}',
            JSON,
            400,
            "the body is no JSON: unexpected character, expected a JSON value at line 1, column 11",
        ),
        (
            b"[]",
            JSON,
            422,
            "a request is an object, found a list; "
            'write {"task": "text-analysis", "input": "This is a test sentence."}',
        ),
        (
            b"{}",
            {"content-type": "text/plain"},
            415,
            "the body is 'text/plain'; send application/json, application/x-ndjson or multipart/form-data",
        ),
        (
            b"{}",
            {},
            415,
            "the request states no Content-Type; send application/json, application/x-ndjson or multipart/form-data",
        ),
    ],
)
async def test_what_is_no_request_is_a_problem(body: bytes, headers: dict[str, str], status: int, detail: str) -> None:
    async with asking() as client:
        answer = await client.post("/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_record_that_no_model_can_read_is_the_records_fault() -> None:
    async with asking(specs=[moods("a")]) as client:
        answer = await client.post("/predict", json={"input": "x", "max_cost": 0.000001})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "/problems/no-model-fits")
    assert problem["detail"] == (
        "no_candidate: no candidate satisfies what the record asks: always; not a costs 0.001, over max_cost"
    )
    assert problem["answer"]["calls"] == 0


async def test_models_that_are_lost_are_the_gateways_fault_and_may_come_back() -> None:
    async with asking(World(lost=frozenset("abc"))) as client:
        answer = await client.post("/predict", json={"input": "x"})
    problem = answer.json()
    assert (answer.status_code, problem["type"], answer.headers["retry-after"]) == (
        503,
        "/problems/no-model-available",
        "1",
    )
    assert [one["error"] for one in problem["answer"]["route"]["predictions"]] == ["model_unavailable"] * 3


async def test_prepared_records_are_answered_with_whole_rows() -> None:
    rows = [{"record_id": "a", "position": 7, "text": "fine"}, {"record_id": "b", "text": 1}]
    async with asking() as client:
        answered = (await client.post("/predict", json={"workflow": "moods", "prepared": True, "records": rows})).json()
        shown = (await client.post("/predict", json={"workflow": "moods", "records": ["fine"]})).json()["answers"][0]
    whole, bad = answered["answers"]
    assert set(whole) == set(tables.ANSWER.names)
    assert (whole["label"], whole["error"], whole["predictions"][0]["node"]) == (shown["label"], None, "main.a")
    assert bad["error"]["code"] == "bad_record"
    assert {**answered, "answers": 2} == {"workflow": "moods", "answers": 2, "records": 2, "failed": 1, "lost": []}


async def test_models_that_are_lost_on_prepared_records_are_named() -> None:
    async with asking(World(lost=frozenset("c"))) as client:
        document = {"workflow": "moods", "prepared": True, "records": ["fine"]}
        assert (await client.post("/predict", json=document)).json()["lost"] == ["c"]


@pytest.mark.parametrize(
    ("document", "pointer", "detail"),
    [
        ({"prepared": 1, "records": ["x"]}, "/prepared", "expected true or false, found 1"),
        (
            {"prepared": True, "mode": "dag", "records": ["x"]},
            "/prepared",
            "a Dag run prepares its records itself; leave it out, or use another mode",
        ),
        (
            {"prepared": True, "input": "x"},
            "/prepared",
            "'prepared' is no field; columns of your own stand under 'features'",
        ),
    ],
)
async def test_what_cannot_be_prepared(document: dict[str, Any], pointer: str, detail: str) -> None:
    async with asking() as client:
        answer = await client.post("/predict", json=document)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"pointer": pointer, "detail": detail}])


async def test_a_prepared_record_with_a_wrong_place_is_one_error() -> None:
    async with asking() as client:
        document = {"prepared": True, "records": [{"text": "x", "position": -1}]}
        (answer,) = (await client.post("/predict", json=document)).json()["answers"]
    assert answer["error"]["message"].endswith("/records/0/position: expected a whole number from 0, found -1")
