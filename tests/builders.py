"""Small model cards, workflows and plans for tests: what is not said is harmless.

>>> plan = compiled({"cascade": ["a", "b"], "accept": "prediction.score >= 0.5"}, card("a"), card("b"))
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.spec import ModelCard, WorkflowSpec, model_from, workflow_from

API_VERSION = "airflow-agentic/v1"
FOLDER = Path("/project/models")


def card_data(
    name: str = "fake",
    *,
    task: str = "text-analysis",
    classes: Sequence[str] | str | None = ("negative", "positive"),
    output: dict[str, Any] | None = None,
    cost: float | None = None,
    latency_ms: float | None = None,
    quality: float | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A card as its YAML would say it.

    :param classes: the label space; not used where ``output`` is given.
    :param output: for a model without labels, as ``{"value": "euro"}`` or ``{"fields": {"name": "string"}}``.
    :param cost: of 1,000 records.
    :param changes: further keys of the card; they replace whole values (``runtime``, ``input``, ``capabilities``…).
    """
    profile = {"cost_per_1k": cost, "latency_ms": latency_ms, "quality": quality}
    listed = classes if isinstance(classes, str) or classes is None else list(classes)
    data: dict[str, Any] = {
        "name": name,
        "version": "1",
        "task": task,
        "input": "text",
        "output": {"classes": listed} if output is None else output,
        "runtime": {"framework": "python", "handler": "tiny:Model"},
        "isolation": "inline",
    }
    declared = {key: value for key, value in profile.items() if value is not None}
    return {**data, **({"profile": declared} if declared else {}), **changes}


def card(name: str = "fake", *, folder: Path = FOLDER, **said: Any) -> ModelCard:
    """A model card; the parameters are those of :func:`card_data`."""
    return model_from(card_data(name, **said), folder)


def cards(*names: str, **said: Any) -> list[ModelCard]:
    """Cards that differ in their names only."""
    return [card(name, **said) for name in names]


def workflow(
    routes: Sequence[Any] | None = None, *, use: Any = "fake", folder: Path = FOLDER, **changes: Any
) -> WorkflowSpec:
    """A workflow.

    :param routes: as YAML would say them; without them there is one route that takes every record, to ``use``.
    :param changes: further keys of the workflow.
    """
    listed = [{"use": use}] if routes is None else list(routes)
    return workflow_from({"name": "demo", "routes": listed, **changes}, folder)


def compiled(use: Any, *models: ModelCard, **changes: Any) -> Plan:
    """The plan of a workflow with one route to the pattern ``use``; its route is called ``main``."""
    return compile_plan(workflow([{"name": "main", "use": use}], **changes), Registry.of(*models))
