"""The text below a field, read from the source."""

from __future__ import annotations

from typing import Literal

from airflow_agentic.spec.base import Strict
from airflow_agentic.spec.descriptions import DescribedSchema, descriptions
from airflow_agentic.spec.workflow import WorkflowSpec


class Parent(Strict):
    first: int = 0
    """Of the parent.

    In two parts.
    """
    second: int = 0


class Child(Parent):
    second: int = 1
    """Of the child."""
    kind: Literal["a"] = "a"


def test_a_field_is_described_by_the_text_below_it() -> None:
    assert descriptions(Child) == {"first": "Of the parent.\n\nIn two parts.", "second": "Of the child."}
    assert descriptions(WorkflowSpec)["seed"] == "Of every choice by chance."


def test_a_class_without_source_has_no_descriptions() -> None:
    assert descriptions(type("Made", (Strict,), {"__module__": "nowhere"})) == {}


def test_the_schema_says_it() -> None:
    schema = Child.model_json_schema(schema_generator=DescribedSchema)

    assert schema["properties"]["second"]["description"] == "Of the child."
    assert "description" not in schema["properties"]["kind"]
