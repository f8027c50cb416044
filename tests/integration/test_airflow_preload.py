"""With ``airflow_agentic.preload`` in ``airflow_local_settings.py`` a task process has nothing left to import."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from services import require

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

SETTINGS = '''\
"""Settings of a test's Airflow."""
import airflow_agentic.preload
import os
import sys

PRELOADED = {name for name in sys.modules}
PROCESS = os.getpid()
'''
CALLBACK = '''\
"""Write what a process has imported since ``airflow_local_settings``."""
import json
import os
import sys

def write(context):
    import airflow_local_settings
    late = sorted(set(sys.modules) - airflow_local_settings.PRELOADED)
    forked = airflow_local_settings.PROCESS != os.getpid()
    with open(os.path.join(os.environ["LATE"], context["ti"].dag_id + "." + context["ti"].task_id), "w") as file:
        json.dump({"late": late, "forked": forked}, file)
'''
HANDLER = {"airflow_agentic.contrib", "airflow_agentic.contrib.rules"}
BY_AIRFLOW = {"airflow_agentic.plugins", "airflow_agentic.cli", "airflow_agentic.cli.airflow"}
"""Of every provider, whatever the Airflow task."""
LIBRARIES = ("airflow_agentic", "cel_expr_python", "numpy", "obstore", "pyarrow")


def test_task_processes_inherit_what_they_need(tmp_path: Path) -> None:
    require(find_spec("airflow") and find_spec("httpx"), "needs Airflow: pip install apache-airflow")
    from benchmarks.airflow_runs import project
    from scripts.airflow_server import AirflowServer

    dags = project(tmp_path / "dags")
    home, late, modules = (tmp_path / name for name in ("home", "late", "modules"))
    for folder in (home / "config", late, modules):
        folder.mkdir(parents=True)
    (home / "config" / "airflow_local_settings.py").write_text(SETTINGS)
    (modules / "task_end.py").write_text(CALLBACK)
    for workflow in (dags / "workflows").iterdir():
        workflow.write_text(f"{workflow.read_text()}task: {{on_success_callback: task_end:write}}\n")
    settings = {
        "LATE": str(late),
        "PYTHONPATH": str(modules),
        "AIRFLOW__AGENTIC__ALLOWED_HANDLERS": "task_end,airflow_agentic.contrib",
    }
    with AirflowServer(home=home, dags=dags, settings=settings, keep=True) as server:
        for dag_id in ("agentic-expanded", "agentic-compact"):
            server.wait_dag(dag_id)
            assert server.wait_run(dag_id, server.trigger(dag_id))["state"] == "success"
    found = {path.name: json.loads(path.read_text()) for path in late.iterdir()}

    assert {name.partition(".")[0] for name in found} == {"agentic-expanded", "agentic-compact"}
    assert len(found) >= 6
    for name, report in found.items():
        assert report["forked"], name
        imported = {module for module in report["late"] if module.partition(".")[0] in LIBRARIES}
        assert imported <= HANDLER | BY_AIRFLOW, name
