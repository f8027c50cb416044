"""Looks around inside another Airflow, whose interpreter runs this file; prints one line of JSON.

The argument is a Dags folder as ``airflow_extras`` makes it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

NAMES: Final = (
    "BaseBranchOperator",
    "CronDataIntervalTimetable",
    "conf",
    "exceptions.AirflowFailException",
    "get_parsing_context",
    "result",
)
"""Of ``airflow.sdk``."""
ARGUMENTS: Final = {
    "allowed_run_types": "dag: {allowed_run_types: [manual]}",
    "rerun_with_latest_version": "dag: {rerun_with_latest_version: true}",
    "retry_policy": "task: {retry_policy: 'policies:POLICY'}",
}
WORKFLOW: Final = """
apiVersion: airflow-agentic/v1
kind: Workflow
name: asking
routes: [{{name: main, use: words}}]
{section}
"""


def main(dags: Path) -> None:
    """Look at one thing after the other."""
    found = {
        "sdk": {name: in_sdk(name) for name in NAMES},
        "compat": compat(),
        "version": provider_version(),
        "setting": setting(),
        "bundles": bundles(),
        "examples": examples(),
        "asked": asked(dags, "reviews"),
        "arguments": {name: refusal(dags, section) for name, section in ARGUMENTS.items()},
    }
    print(json.dumps(found))  # noqa: T201  # the answer


def in_sdk(name: str) -> bool:
    """Whether ``airflow.sdk`` has it."""
    import airflow.sdk

    found: Any = airflow.sdk
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except (AttributeError, ImportError):
            return False
    return True


def compat() -> dict[str, str]:
    """Where what our compat module hands out comes from."""
    from airflow_agentic import compat

    found = {name: getattr(compat, name) for name in compat.__all__}
    return {name: getattr(each, "__module__", type(each).__module__) for name, each in found.items()}


def provider_version() -> str:
    """Of our provider, as Airflow knows it."""
    from airflow.providers_manager import ProvidersManager

    return str(ProvidersManager().providers["airflow-agentic"].version)


def setting() -> str:
    """What our section of the configuration says of the connection."""
    from airflow_agentic.hooks import store

    return store.setting("artifacts_conn_id")


def bundles() -> list[str]:
    """The Dag bundles."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    return [bundle.name for bundle in DagBundlesManager().get_all_dag_bundles()]


def examples() -> dict[str, list[str]]:
    """The tags of the example Dags, by id."""
    import airflow_agentic

    made = runpy.run_path(str(Path(airflow_agentic.__file__).parent / "example_dags" / "agentic.py"))
    return {value.dag_id: sorted(value.tags) for name, value in made.items() if name.startswith("dag ")}


def asked(dags: Path, dag_id: str) -> list[str]:
    """What the loader makes in a task process of ``dag_id``."""
    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    try:
        made = runpy.run_path(str(dags / "extras" / "loader.py"))
    finally:
        del os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"]
    return sorted(value.dag_id for name, value in made.items() if name.startswith("dag "))


def refusal(dags: Path, section: str) -> str | None:
    """What a workflow with this ``section`` is told; ``None`` where it becomes a Dag."""
    from airflow_agentic import Workflow
    from airflow_agentic.exceptions import CompileError

    policies = ModuleType("policies")
    policies.POLICY = None  # type: ignore[attr-defined]  # which is what it is for
    sys.modules["policies"] = policies
    path = Path(os.environ["AIRFLOW_HOME"]) / "asking" / "workflows" / "asking.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    models = path.parents[1] / "models"
    if not models.exists():
        models.symlink_to(dags / "extras" / "models", target_is_directory=True)
    path.write_text(WORKFLOW.format(section=section))
    try:
        Workflow.load(path).dag()
    except CompileError as error:
        return str(error).partition(": ")[2]
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
