"""Spec files to typed specs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import source as yaml_source
from airflow_agentic.spec.base import API_VERSION, build
from airflow_agentic.spec.explain import in_short
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.spec.source import Source
from airflow_agentic.spec.workflow import WorkflowSpec

SUFFIXES = (".yaml", ".yml")


def load_model(path: Path) -> ModelCard:
    """The model card in the file ``path``.

    :raises SpecError: with every problem of the file.
    """
    data, source = yaml_source.read(path, shown=shown(path))
    return build(ModelCard, _of_kind(data, source, "Model"), source, path.parent)


def load_workflow(path: Path) -> WorkflowSpec:
    """The workflow in the file ``path``.

    :raises SpecError: with every problem of the file.
    """
    data, source = yaml_source.read(path, shown=shown(path))
    return build(WorkflowSpec, _of_kind(data, source, "Workflow"), source, path.parent)


def model_from(data: dict[str, Any], folder: Path | None = None) -> ModelCard:
    """A model card from Python values."""
    return build(ModelCard, {"kind": "Model", **data}, Source(), folder or Path.cwd())


def workflow_from(data: dict[str, Any], folder: Path | None = None) -> WorkflowSpec:
    """A workflow from Python values."""
    return build(WorkflowSpec, {"kind": "Workflow", **data}, Source(), folder or Path.cwd())


def spec_files(folder: Path) -> list[Path]:
    """The YAML files of ``folder``, sorted by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and not path.name.startswith("."))


def shown(path: Path) -> str:
    """``path`` as messages name it: relative to the working folder where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _of_kind(data: Any, source: Source, kind: str) -> Any:
    if not isinstance(data, dict):
        return data
    for key, wanted in (("apiVersion", API_VERSION), ("kind", kind)):
        hint = f"write {key}: {wanted}"
        if key not in data:
            raise SpecError(source.missing((key,), hint))
        if data[key] != wanted:
            raise SpecError(source.problem((key,), f"expected {wanted}, found {in_short(data[key])}", hint))
    return data
