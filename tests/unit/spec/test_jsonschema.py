"""The JSON Schemas that editors use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_agentic.cli.templates import TEXT
from airflow_agentic.spec.jsonschema import SCHEMAS, schemas, write_schemas

jsonschema = pytest.importorskip("jsonschema")

EXAMPLE = Path(__file__).parents[3] / "dags"


def errors(kind: str, document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schemas()[kind])
    return [error.message for error in validator.iter_errors(document)]


def workflow(**values: Any) -> dict[str, Any]:
    return {"apiVersion": "airflow-agentic/v1", "kind": "Workflow", "name": "w", "routes": [{"use": "a"}], **values}


def use(pattern: Any, **beside: Any) -> dict[str, Any]:
    return workflow(routes=[{"use": pattern, **beside}])


@pytest.mark.parametrize("kind", ["model", "workflow"])
def test_the_committed_schemas_are_what_the_models_generate(kind: str) -> None:
    committed = json.loads((SCHEMAS / f"{kind}.json").read_text())
    assert committed == schemas()[kind], "run: airflow-agentic schema airflow_agentic/spec/schema"
    jsonschema.Draft202012Validator.check_schema(committed)


def test_every_key_is_described(tmp_path: Path) -> None:
    described = schemas()["model"]["$defs"]["Runtime"]["properties"]["sha256"]["description"]
    assert described == (
        "Checked before loading. For a folder it is the digest of its tree, as ``models show`` prints it."
    )
    assert [path.name for path in write_schemas(tmp_path)] == ["model.json", "workflow.json"]


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*/*.yaml")), ids=lambda path: path.name)
def test_the_example_is_valid(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    assert errors(document["kind"].lower(), document) == []


@pytest.mark.parametrize("name", [name for name in TEXT if name.endswith(".yaml")])
def test_what_init_writes_is_valid(name: str) -> None:
    document = yaml.safe_load(TEXT[name])
    assert errors(document["kind"].lower(), document) == []


@pytest.mark.parametrize(
    "document",
    [
        use("a"),
        use({"single": ["a", "b"], "policy": "quality"}),
        use({"single": {"task": "t", "capabilities": {"languages": "en"}}}, policy={"balanced": {"cost": 2}}),
        use({"cascade": ["a", {"ensemble": ["b", "c"], "aggregate": "mean"}], "accept": "prediction.score > 0.5"}),
        use({"ensemble": ["a", "b"]}, quorum=2, deadline="200ms", aggregate={"stack": "meta"}),
        use({"ensemble": ["a", "b"]}, aggregate={"weighted-vote": {"a": 2}}),
        use({"chain": ["a", {"use": "b", "input": "prediction.label"}, {"single": ["c"]}]}),
        use({"split": {"arms": [{"use": "a", "weight": 1}, {"use": {"single": ["b"]}, "weight": 9}]}}),
        use({"shadow": {"primary": "a", "shadows": ["b", {"cascade": ["c", "d"], "accept": "true"}]}}),
        use({"rules": [{"when": "true", "use": "a"}, {"use": {"fallback": ["b", "c"]}}]}),
        workflow(default="a", on_error="fallback", fallback={"single": ["b"]}, input="in.jsonl", window="interval"),
        workflow(input={"uri": "in.csv", "columns": {"body": "text"}}, preprocess=["a", {"b": {"c": 1}}]),
    ],
)
def test_short_forms_are_valid(document: dict[str, Any]) -> None:
    assert errors("workflow", document) == []


@pytest.mark.parametrize(
    "document",
    [
        workflow(rutes=[]),
        workflow(routes=[]),
        workflow(input={"url": "x"}),
        workflow(window="hourly"),
        use({"cascad": ["a"]}),
        use({"single": []}),
        use({"single": ["a"], "policy": "best"}),
        use({"ensemble": ["a"], "aggregate": {"stack": 3}}),
        {key: value for key, value in workflow().items() if key != "apiVersion"},
    ],
)
def test_mistakes_are_not(document: dict[str, Any]) -> None:
    assert errors("workflow", document) != []
