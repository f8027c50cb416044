"""Values, their schema and the chart's page move together; the schema knows every key and refuses any other."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from cases import elsewhere
from rendered import CHART, invalid

from airflow_agentic import __version__
from airflow_agentic.spec.explain import NAME_PATTERN, SHA256_PATTERN, VERSION_PATTERN

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = CHART.parents[1]
VALUES: Final = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Final = json.loads((CHART / "values.schema.json").read_text())
FREE: Final = {"strings", "files", "amounts", "kubernetesObject", "named", "limits", "global"}
"""Maps whose keys are the user's or Kubernetes'."""


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        target: Any = SCHEMA
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def keys_of_values(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key, down to where the schema is free."""
    for key, value in values.items():
        yield f"{path}{key}"
        below = resolved(schema["properties"].get(key, {})) if "properties" in schema else {}
        if isinstance(value, dict) and "properties" in below:
            yield from keys_of_values(value, below, f"{path}{key}.")


def keys_of_schema(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in schema["properties"].items():
        yield f"{path}{key}"
        if "properties" in (below := resolved(value)):
            free = below is not resolved({"$ref": "#/$defs/resources"})
            yield from keys_of_schema(below, f"{path}{key}.") if free else ()


def open_objects(schema: Any, path: str = "$") -> Iterator[str]:
    """Every object of the schema that takes keys which it does not name."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from open_objects(item, f"{path}[{index}]")
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            yield path
        for key, value in schema.items():
            yield from open_objects(value, f"{path}.{key}")


def test_values_and_schema_have_the_same_keys() -> None:
    assert sorted(set(keys_of_schema(SCHEMA)) ^ set(keys_of_values(VALUES, SCHEMA))) == ["global"]


def test_a_model_server_has_the_keys_of_the_defaults() -> None:
    entry = SCHEMA["properties"]["modelServers"]["items"]
    assert entry["required"] == ["name", "card"]
    assert set(entry["properties"]) - set(SCHEMA["properties"]["modelServerDefaults"]["properties"]) == {
        "name",
        "card",
        "version",
    }
    assert set(entry["properties"]) > set(VALUES["modelServerDefaults"])


def test_only_maps_that_are_free_take_any_key() -> None:
    found = [path.split(".") for path in open_objects(SCHEMA)]
    assert {path[2] for path in found} == FREE


def test_keys_are_camel_case() -> None:
    assert [key for key in keys_of_values(VALUES, SCHEMA) if not key.replace(".", "").isalnum()] == []
    assert [key for key in keys_of_values(VALUES, SCHEMA) if any(part[0].isupper() for part in key.split("."))] == []


def test_patterns_are_those_of_cards() -> None:
    entry = SCHEMA["properties"]["modelServers"]["items"]["properties"]
    assert entry["name"]["pattern"] == NAME_PATTERN
    assert entry["version"]["pattern"] == VERSION_PATTERN
    files = SCHEMA["properties"]["modelServerDefaults"]["properties"]["files"]
    assert files["properties"]["fetch"]["items"]["pattern"] == SHA256_PATTERN


def test_the_page_is_up_to_date_and_every_value_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    written = importlib.import_module("scripts.chart_values")
    assert (CHART / "README.md").read_text() == written.page()
    assert [key for key, _, meaning in written.values() if not meaning.endswith((".", "`"))] == []


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"modelServer": []}, "modelServer"),
        ({"modelServers": {"words": {}}}, "modelServers"),
        (elsewhere(replica=2), "replica"),
        (elsewhere(replicas=-1), "replicas"),
        (elsewhere(replicas="2"), "replicas"),
        (elsewhere(gpu=0.5), "gpu"),
        (elsewhere(resources={"cpu": 1}), "cpu"),
        (elsewhere(name="Words"), "name"),
        (elsewhere(version="1/2"), "version"),
        (elsewhere(imagePullPolicy="Sometimes"), "imagePullPolicy"),
        (elsewhere(probes={"startup": {"initialDelaySeconds": 3}}), "initialDelaySeconds"),
        (elsewhere(env=[{"value": "x"}]), "name"),
        (elsewhere(env=[{"name": "X", "value": 1}]), "value"),
        (elsewhere(files={"fetch": ["abc"]}), "fetch"),
        (elsewhere(podDisruptionBudget={"maxUnavailable": 0}), "maxUnavailable"),
        ({"modelServerDefaults": {"card": "/c.yaml"}}, "card"),
        ({"modelServers": [{"name": "words"}]}, "card"),
        ({"runAs": {"user": 0}}, "user"),
        ({"project": {"cards": {"models/words.yaml": "x"}}}, "models/words.yaml"),
        ({"project": {"cards": {"words.yaml": {}}}}, "words.yaml"),
        ({"project": {"airflowPath": "agentic"}}, "airflowPath"),
        ({"airflow": {"rbac": {"exec": "yes"}}}, "exec"),
        ({"airflow": {"rbac": {"rules": []}}}, "rules"),
        ({"artifacts": {"uri": "/runs"}}, "uri"),
        ({"artifacts": {"persistence": {"size": "10 GB"}}}, "size"),
        ({"commonLabels": {"team": 1}}, "commonLabels"),
        ({"gateway": {"port": 80}}, "port"),
        ({"gateway": {"limits": {"running": 32}}}, "running"),
        ({"gateway": {"jwt": {"jwks": "keys"}}}, "jwks"),
        ({"gateway": {"service": {"type": "ExternalName"}}}, "type"),
        ({"gateway": {"workflows": ["Reviews"]}}, "workflows"),
        ({"test": {"request": ""}}, "request"),
        (elsewhere(http=True), "http"),
        (elsewhere(http={"workers": 0}), "workers"),
        (elsewhere(http={"args": ["words"]}), "args"),
        ({"serviceMonitor": {"interval": "often"}}, "interval"),
        ({"imagePullSecrets": ["registry"]}, "imagePullSecrets"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_values_are_refused_with_their_place(values: dict[str, Any], where: str) -> None:
    assert where in invalid(values)
