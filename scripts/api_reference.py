"""Write ``docs/api-reference.md`` from the OpenAPI descriptions of the gateway and the model server."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import MagicMock

from airflow_agentic.serving.gateway.routes import framework
from airflow_agentic.serving.processes import Options, model_server

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "api-reference.md"
HEAD: Final = """# API reference

<!-- written by `python -m scripts.api_reference` from the servers' own OpenAPI descriptions -->

Each server shows its description at `/openapi.json`. How to use them: [answer requests](how-to/serving.md),
[model servers](how-to/model-server.md), whose messages are those of the [Open Inference Protocol](openinference.md).
What Airflow's API server shows: [its page](how-to/airflow-api.md).
"""


def described() -> dict[str, dict[str, Any]]:
    """The descriptions, by title; no model is loaded and nothing listens."""
    gateway: dict[str, Any] = framework(MagicMock(), MagicMock(), MagicMock()).openapi()
    with tempfile.TemporaryDirectory() as folder:
        models: dict[str, Any] = model_server(Options(cards=folder)).openapi()
    return {"Gateway": gateway, "Model server": models}


def documents() -> Mapping[Path, str]:
    """What is written where."""
    parts = [HEAD]
    for title, document in described().items():
        parts.append("\n".join([f"## {title}\n", *_routes(document)]))
        schemas = document.get("components", {}).get("schemas", {})
        parts += ["\n".join(_schema(name, schema)) for name, schema in schemas.items() if schema.get("properties")]
    return {PAGE: "\n".join(parts)}


def _routes(document: Mapping[str, Any]) -> Iterator[str]:
    yield from ("| route | what | answers |", "|---|---|---|")
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            summary = route.get("description") or route["summary"]
            statuses = ", ".join(sorted(route["responses"]))
            yield f"| `{method.upper()} {path}` | {_line(summary)} | {statuses} |"
    yield ""


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {name}\n", "| field | type | |", "|---|---|---|")
    required = schema.get("required", ())
    for field, said in schema["properties"].items():
        notes = ["required" if field in required else "", _line(said.get("description", ""))]
        yield f"| `{field}` | {_type(said)} | {'; '.join(filter(None, notes))} |"
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kind = schema.get("type", "any")
    if isinstance(kind, list):
        return " or ".join(kind)
    return f"array of {_type(schema['items'])}" if kind == "array" and "items" in schema else str(kind)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the page."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
