"""Rules of the Open Inference Protocol v2 over REST, from its specification (``inference_rest.md``)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from conformance_targets import TENSORS, VERSION, Answer, Target

LIMITS: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "UINT8": [0, 2**8 - 1],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-(2**7), 2**7 - 1],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP32": [-1.5, 2.0**127],
    "FP64": [0.1, -1e308],
    "BYTES": ["", 'é"\\😀\n'],
}
"""Values of each datatype that JSON can say."""
A: dict[str, Any] = {"name": "a", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [4, 5]]}
B: dict[str, Any] = {"name": "b", "shape": [2, 2], "datatype": "FP32", "data": [0, 1, 0, 2]}
ROWS: dict[str, Any] = {"inputs": [A, B]}
TEXTS: dict[str, Any] = {"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["one", "two"]}]}


def outputs(answer: Answer) -> dict[str, Any]:
    """The outputs of a response by name, each checked for its form."""
    assert answer.status == 200, answer
    found = {one["name"]: one for one in answer.json["outputs"]}
    for one in found.values():
        assert all(isinstance(length, int) and length >= 0 for length in one["shape"])
        assert len(flat(one["data"])) == math.prod(one["shape"])
        assert one["datatype"] in {*LIMITS, "FP16"}
    return found


def flat(data: Any) -> list[Any]:
    return [item for one in data for item in flat(one)] if isinstance(data, list) else [data]


def refused(answer: Answer) -> None:
    """An error status, and its message in the protocol's form."""
    assert 400 <= answer.status < 500, answer
    assert isinstance(answer.json["error"], str)
    assert answer.json["error"]


# health and metadata


def test_live(target: Target) -> None:
    assert target.ask("GET", "/v2/health/live").status == 200


def test_live_body(target: Target) -> None:
    assert target.ask("GET", "/v2/health/live").json["live"] is True


def test_ready(target: Target) -> None:
    assert target.ask("GET", "/v2/health/ready").status == 200


def test_server_metadata(target: Target) -> None:
    found = target.ask("GET", "/v2")
    assert found.status == 200
    assert isinstance(found.json["name"], str)
    assert isinstance(found.json["version"], str)
    assert all(isinstance(one, str) for one in found.json["extensions"])


@pytest.mark.parametrize("path", ["", f"/versions/{VERSION}"])
@pytest.mark.parametrize("model", TENSORS)
def test_model_ready(target: Target, model: str, path: str) -> None:
    found = target.ask("GET", f"/v2/models/{model}{path}/ready")
    assert found.status == 200
    assert (found.json["name"], found.json["ready"]) == (model, True)


@pytest.mark.parametrize("path", ["", f"/versions/{VERSION}"])
@pytest.mark.parametrize("model", TENSORS)
def test_model_metadata(target: Target, model: str, path: str) -> None:
    found = target.ask("GET", f"/v2/models/{model}{path}")
    assert found.status == 200
    assert found.json["name"] == model
    assert isinstance(found.json["platform"], str)
    wanted = TENSORS[model] or {"inputs": [], "outputs": []}
    for side in ("inputs", "outputs"):
        told = [{key: one[key] for key in ("name", "datatype", "shape")} for one in found.json[side]]
        assert told == wanted[side]


def test_versions_may_be_asked(target: Target) -> None:
    versions = target.ask("GET", "/v2/models/echo").json["versions"]
    assert versions == [VERSION]


def test_platform_has_project_and_format(target: Target) -> None:
    project, _, form = target.ask("GET", "/v2/models/echo").json["platform"].partition("_")
    assert project
    assert form


@pytest.mark.parametrize("path", ["", "/ready", "/versions/9", "/versions/9/ready"])
def test_metadata_of_what_is_not_there(target: Target, path: str) -> None:
    refused(target.ask("GET", f"/v2/models/{'echo' if 'versions' in path else 'nobody'}{path}"))


# inference


@pytest.mark.parametrize("datatype", LIMITS)
def test_every_datatype(target: Target, datatype: str) -> None:
    given = {"name": "x", "shape": [2], "datatype": datatype, "data": LIMITS[datatype]}
    found = outputs(target.infer("echo", {"inputs": [given]}))["output"]
    assert (found["datatype"], found["shape"]) == (datatype, [2])
    rounded = np.float32 if datatype == "FP32" else lambda one: one  # its shortest text is that of no other FP32
    assert list(map(rounded, flat(found["data"]))) == list(map(rounded, LIMITS[datatype]))


@pytest.mark.parametrize("shape", [[0], [0, 3], [1], [4], [2, 2], [2, 1, 2], [1] * 8], ids=str)
def test_every_shape(target: Target, shape: list[int]) -> None:
    data = [float(place) for place in range(math.prod(shape))]
    given = {"name": "x", "shape": shape, "datatype": "FP64", "data": data}
    found = outputs(target.infer("echo", {"inputs": [given]}))["output"]
    assert (found["shape"], flat(found["data"])) == (shape, data)


def test_data_nested_or_flat_in_row_major_order(target: Target) -> None:
    for nested in (True, False):
        first = A if nested else A | {"data": [1, 2, 4, 5]}
        found = outputs(target.infer("sum", {"inputs": [first, B]}))["sum"]
        assert (found["datatype"], found["shape"], flat(found["data"])) == ("FP32", [2], [13.0, 29.0])


def test_strings(target: Target) -> None:
    found = outputs(target.infer("label", TEXTS))
    assert found.keys() == {"label", "length"}
    assert flat(found["label"]["data"]) == ["o", "t"]
    assert flat(found["length"]["data"]) == [3, 3]


def test_the_order_of_inputs_does_not_matter(target: Target) -> None:
    found = outputs(target.infer("sum", {"inputs": [B, A]}))["sum"]
    assert flat(found["data"]) == [13.0, 29.0]


def test_the_model_is_named(target: Target) -> None:
    found = target.infer("sum", ROWS).json
    assert found["model_name"] == "sum"
    assert found["model_version"] == VERSION


def test_a_version_may_be_named(target: Target) -> None:
    assert target.infer("sum", ROWS, version=VERSION).json["model_version"] == VERSION


@pytest.mark.parametrize("identity", ["42", "4 é"])
def test_the_id_comes_back(target: Target, identity: str) -> None:
    assert target.infer("sum", ROWS | {"id": identity}).json["id"] == identity


def test_answers_are_json(target: Target) -> None:
    assert target.infer("sum", ROWS).headers["content-type"].partition(";")[0] == "application/json"


@pytest.mark.parametrize("name", ["label", "length"])
def test_only_the_outputs_that_are_asked(target: Target, name: str) -> None:
    assert outputs(target.infer("label", TEXTS | {"outputs": [{"name": name}]})).keys() == {name}


def test_an_empty_list_of_outputs_is_all(target: Target) -> None:
    assert outputs(target.infer("label", TEXTS | {"outputs": []})).keys() == {"label", "length"}


def test_parameters_may_be_anywhere(target: Target) -> None:
    parameters = {"own_text": "a", "own_number": 1.5, "own_flag": True}
    asked = {
        "parameters": parameters,
        "inputs": [A | {"parameters": parameters}, B],
        "outputs": [{"name": "sum", "parameters": parameters}],
    }
    assert flat(outputs(target.infer("sum", asked))["sum"]["data"]) == [13.0, 29.0]


# errors


@pytest.mark.parametrize(("model", "version"), [("nobody", None), ("sum", "9")])
def test_a_model_that_is_not_there(target: Target, model: str, version: str | None) -> None:
    refused(target.infer(model, ROWS, version=version))


WRONG: dict[str, Any] = {
    "no JSON": b'{"inputs": ',
    "no object": [],
    "no inputs": {},
    "empty inputs": {"inputs": []},
    "no name": {"inputs": [{key: A[key] for key in ("shape", "datatype", "data")}, B]},
    "no shape": {"inputs": [{key: A[key] for key in ("name", "datatype", "data")}, B]},
    "no datatype": {"inputs": [{key: A[key] for key in ("name", "shape", "data")}, B]},
    "no data": {"inputs": [{key: A[key] for key in ("name", "shape", "datatype")}, B]},
    "unknown datatype": {"inputs": [A | {"datatype": "FP8"}, B]},
    "negative length": {"inputs": [A | {"shape": [-2, 2]}, B]},
    "fraction of a length": {"inputs": [A | {"shape": [2.5, 2]}, B]},
    "too few elements": {"inputs": [A | {"data": [1, 2, 3]}, B]},
    "too many elements": {"inputs": [A | {"data": [1, 2, 3, 4, 5]}, B]},
    "another nesting": {"inputs": [A | {"data": [[1, 2, 4], [5]]}, B]},
    "object as data": {"inputs": [A | {"data": {"a": 1}}, B]},
    "input missing": {"inputs": [A]},
    "input unknown": {"inputs": [A, B, B | {"name": "c"}]},
    "input twice": {"inputs": [A, A, B]},
    "another datatype": {"inputs": [A | {"datatype": "INT64"}, B]},
    "another shape": {"inputs": [A | {"shape": [4], "data": [1, 2, 4, 5]}, B]},
    "output unknown": ROWS | {"outputs": [{"name": "total"}]},
    "id no string": ROWS | {"id": 7},
    "parameter nested": ROWS | {"parameters": {"a": {"b": 1}}},
}
"""Requests that no server can answer as they stand."""


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request(target: Target, wrong: str) -> None:
    refused(target.infer("sum", WRONG[wrong]))


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("UINT8", [256, 0]), ("INT8", [-129, 0]), ("UINT32", [-1, 0]), ("INT64", [2**63, 0]), ("FP32", [1e39, 0])],
    ids=str,
)
def test_a_number_that_does_not_fit(target: Target, datatype: str, data: list[Any]) -> None:
    refused(target.infer("echo", {"inputs": [{"name": "x", "shape": [2], "datatype": datatype, "data": data}]}))


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("INT32", [1, "2"]), ("INT32", [1, 1.5]), ("FP32", [1, "2"]), ("BOOL", [True, 2]), ("BYTES", ["a", 1])],
    ids=str,
)
def test_an_element_of_another_type_is_an_error_or_coerced(target: Target, datatype: str, data: list[Any]) -> None:
    """As the specification has it: never a value of another type in the answer."""
    answer = target.infer("echo", {"inputs": [{"name": "x", "shape": [2], "datatype": datatype, "data": data}]})
    if answer.status != 200:
        refused(answer)
        return
    kinds = {"INT32": int, "FP32": (int, float), "BOOL": bool, "BYTES": str}
    assert all(isinstance(one, kinds[datatype]) for one in flat(outputs(answer)["output"]["data"]))


@pytest.mark.parametrize("path", ["/v2/models/sum/infer", f"/v2/models/sum/versions/{VERSION}/infer"])
def test_inference_is_a_post(target: Target, path: str) -> None:
    refused(target.ask("GET", path))


def test_the_server_lives_after_all_that(target: Target) -> None:
    assert flat(outputs(target.infer("sum", ROWS))["sum"]["data"]) == [13.0, 29.0]
