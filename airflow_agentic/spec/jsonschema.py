"""JSON Schemas of model cards and workflows, as editors use them.

They describe the YAML a user writes, short forms included (a pattern may be a model's name, candidates a list). They
accept everything that the specs accept, not the reverse: rules over several keys are checked by ``validate`` only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from airflow_agentic.spec.descriptions import DescribedSchema
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.pattern import PATTERNS, Aggregation, Candidates, Pattern, Policy
from airflow_agentic.spec.workflow import InputSpec, WindowSpec, WorkflowSpec

SCHEMAS: Final = Path(__file__).parent / "schema"
"""The committed schemas: ``model.json`` and ``workflow.json``."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Final[dict[str, Any]] = {"type": "string"}
_NULL: Final[dict[str, Any]] = {"type": "null"}
_WEIGHTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "number"}}
_MODELS: Final = (WorkflowSpec, Pattern, Candidates, Policy, Aggregation, InputSpec, WindowSpec)
"""Those that pydantic's own schema of a workflow leaves out, because a validator takes a short form first."""


def schemas() -> dict[str, dict[str, Any]]:
    """The schemas by file name, without suffix."""
    return {
        "model": _headed(ModelCard.model_json_schema(schema_generator=DescribedSchema)),
        "workflow": _headed(_workflow()),
    }


def serialised(schema: dict[str, Any]) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas into ``folder``; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, schema in schemas().items():
        path = folder / f"{name}.json"
        path.write_text(serialised(schema), encoding="utf-8")
        paths.append(path)
    return paths


def _headed(schema: dict[str, Any]) -> dict[str, Any]:
    required = sorted({"apiVersion", *schema["required"]})
    return {"$schema": _DIALECT, **schema, "required": required}


def _workflow() -> dict[str, Any]:
    """The generated schema, with the short forms that validators take before pydantic looks."""
    _, generated = models_json_schema([(model, "validation") for model in _MODELS], schema_generator=DescribedSchema)
    definitions = generated["$defs"]
    schema: dict[str, Any] = definitions.pop("WorkflowSpec")
    member = {"anyOf": [_TEXT, _of("Pattern")]}
    for name in ("ChainStep", "Arm", "Rule", "Route"):
        _say(definitions[name], "use", member)
    _say(definitions["Shadow"], "primary", member)
    _say(definitions["Shadow"], "shadows", {"type": "array", "minItems": 1, "items": member})
    policies, methods = _choices(definitions["Policy"], "name"), _choices(definitions["Aggregation"], "method")
    _say(definitions["Pattern"], "policy", _optional(_short(policies), _of("Policy"), _keyed(policies)))
    aggregate = _optional(_short(methods), _of("Aggregation"), _keyed(methods), _keyed(["stack", "handler"], _TEXT))
    _say(definitions["Pattern"], "aggregate", aggregate)
    for key in ("default", "fallback"):
        _say(schema, key, _optional(*member["anyOf"]))
    _say(schema, "input", _optional(_TEXT, _of("InputSpec")))
    _say(schema, "window", {"anyOf": [_short(_choices(definitions["WindowSpec"], "kind")), _of("WindowSpec")]})
    pattern = definitions["Pattern"]["properties"]
    definitions["Route"]["properties"] |= {name: pattern[name] for name in pattern if name not in PATTERNS}
    listed = {"type": "array", "minItems": 1, "items": member}
    definitions["Candidates"] = {"anyOf": [_TEXT, listed, _of("Query"), definitions["Candidates"]]}
    definitions["ChainStep"] = {"anyOf": [_TEXT, definitions["ChainStep"], _of("Pattern")]}
    return {**schema, "$defs": definitions}


def _of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _optional(*schemas: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [*schemas, _NULL], "default": None}


def _short(names: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": names}


def _keyed(names: list[str], value: dict[str, Any] = _WEIGHTS) -> dict[str, Any]:
    """``{name: value}``, one of ``names``."""
    properties = dict.fromkeys(names, value)
    return {"type": "object", "properties": properties, "additionalProperties": False, "maxProperties": 1}


def _choices(definition: dict[str, Any], key: str) -> list[str]:
    names: list[str] = definition["properties"][key]["enum"]
    return names


def _say(definition: dict[str, Any], key: str, schema: dict[str, Any]) -> None:
    """Replace what a property takes; its title and description stay."""
    before = definition["properties"][key]
    kept = {name: before[name] for name in ("title", "description") if name in before}
    definition["properties"][key] = {**kept, **schema}
