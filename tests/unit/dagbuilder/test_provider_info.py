"""What Airflow is told of this provider is there."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import pytest

import airflow_agentic
from airflow_agentic.get_provider_info import get_provider_info
from airflow_agentic.hooks import service, store

INFO: Final = get_provider_info()
PACKAGE: Final = Path(airflow_agentic.__file__).parent


def found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def test_it_is_named_as_its_distribution() -> None:
    (own,) = {
        point for point in entry_points(group="apache_airflow_provider") if point.value.startswith("airflow_agentic")
    }

    assert own.load() is get_provider_info
    assert (INFO["package-name"], INFO["versions"]) == ("airflow-agentic", [airflow_agentic.__version__])


@pytest.mark.parametrize(
    "name",
    [
        name
        for part in ("operators", "hooks", "sensors", "triggers")
        for one in INFO[part]
        for name in one["python-modules"]
    ],
)
def test_every_module_imports(name: str) -> None:
    assert import_module(name).__name__ == name


def test_every_operator_module_is_named() -> None:
    shared = {"__init__", "answering", "node", "start", "inputs", "decorators", "pod", "reach", "committed"}
    shared |= {"service_sensor", "asking_gateway"}
    files = {path.stem for path in (PACKAGE / "operators").glob("*.py")} - shared

    assert {name.rpartition(".")[2] for one in INFO["operators"] for name in one["python-modules"]} == files


def test_every_path_leads_somewhere() -> None:
    paths = [
        *(one["hook-class-name"] for one in INFO["connection-types"]),
        *(one["class-name"] for one in INFO["task-decorators"]),
        *INFO.get("cli", ()),
    ]

    assert all(callable(found(path)) for path in paths)


def test_the_connections_form_fills_what_the_hook_reads() -> None:
    of_store, of_service = INFO["connection-types"]

    assert of_store["connection-type"] == store.ArtifactStoreHook.conn_type
    assert set(of_store["conn-fields"]) == {"uri", *store._EXTRA}
    assert of_service["connection-type"] == service.InferenceServiceHook.conn_type
    assert set(of_service["conn-fields"]) == set(service._EXTRA)


def test_every_setting_that_is_read_is_declared() -> None:
    declared = set(INFO["config"]["agentic"]["options"])

    assert {
        name for folder in ("operators", "hooks", "dagbuilder") for name in settings_read(PACKAGE / folder)
    } == declared


def settings_read(folder: Path) -> set[str]:
    """The first argument of every call of ``setting`` and ``settings_list``."""
    calls = [
        node
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]
    names = {"setting", "settings_list"}
    return {
        str(call.args[0].value)
        for call in calls
        if isinstance(call.func, ast.Name)
        and call.func.id in names
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }


def test_every_setting_says_what_it_is_for() -> None:
    for name, option in INFO["config"]["agentic"]["options"].items():
        assert option.keys() >= {"description", "version_added", "type", "example", "default"}, name
