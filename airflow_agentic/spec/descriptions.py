"""What the text below each field says, read from the source when somebody asks.

pydantic can do this for every class as it is defined (``use_attribute_docstrings``). A Dag processor and every Airflow
task would pay for it at each start, and need it for the JSON Schemas, the reference and a few messages only.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


class DescribedSchema(GenerateJsonSchema):
    """JSON Schema with each field's text as its description."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        """See pydantic."""
        found = super().model_schema(schema)
        model = schema["cls"]
        for name, text in descriptions(model).items():
            shown = found.get("properties", {}).get(model.model_fields[name].alias or name)
            if shown is not None:
                shown["description"] = text
        return found


@cache
def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of ``model``, by the field's name; fields without one are left out."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            found |= _below(_classes(owner.__module__).get(owner.__qualname__))
    return {name: text for name, text in found.items() if name in model.model_fields}


def _below(definition: ast.ClassDef | None) -> dict[str, str]:
    body = definition.body if definition is not None else []
    found = {}
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            found[statement.target.id] = inspect.cleandoc(following.value.value)
    return found


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module; none where its source is not at hand."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, KeyError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
