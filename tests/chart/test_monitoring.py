"""The alerts fire when a model server is down or is started again and again, judged by Prometheus' own tool."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cases import CASES
from rendered import one
from services import require

if TYPE_CHECKING:
    from pathlib import Path

AVAILABLE = 'kube_deployment_status_replicas_available{namespace="models",deployment="%s"}'
RESTARTS = 'kube_pod_container_status_restarts_total{namespace="models",container="model",pod="%s"}'


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("promtool")
    require(found, "needs promtool: apt-get install prometheus")
    return subprocess.run([str(found), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def alert(name: str, **more: Any) -> dict[str, Any]:
    labels = {"namespace": "models", **more.pop("labels")}
    return {"eval_time": more.pop("after"), "alertname": name, "exp_alerts": [{"exp_labels": labels, **more}]}


def silence(name: str, after: str) -> dict[str, Any]:
    return {"eval_time": after, "alertname": name, "exp_alerts": []}


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    values = {**CASES["two servers"], "prometheusRule": CASES["alerts"]["prometheusRule"]}
    spec = one("PrometheusRule", "airflow-agentic-models", values)
    assert spec["metadata"]["labels"]["prometheus"] == "main"
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec["spec"]))
    return tmp_path


def judged(folder: Path, series: dict[str, str], alerts: list[dict[str, Any]]) -> None:
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": alerts,
    }
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    done = promtool(folder, "test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules(rules: Path) -> None:
    done = promtool(rules, "check", "rules", "rules.yaml")
    assert done.returncode == 0, done.stderr
    assert "2 rules found" in done.stdout


def test_a_server_without_a_pod_alerts_after_ten_minutes(rules: Path) -> None:
    name = "AgenticModelServerUnavailable"
    series = {
        AVAILABLE % "airflow-agentic-words": "1x4 0x30",
        AVAILABLE % "airflow-agentic-other": "2x40",
        AVAILABLE % "airflow-agentic-words-of-another-release": "0x40",
        (AVAILABLE % "airflow-agentic-words").replace("models", "elsewhere"): "0x40",
    }
    annotations = {
        "summary": "No pod of model server airflow-agentic-words has its model loaded",
        "description": "Units of this model are started cold, or fail. Look at `kubectl describe` and the log of "
        "its pods.",
    }
    labels = {"deployment": "airflow-agentic-words", "severity": "critical"}
    judged(rules, series, [silence(name, "14m"), alert(name, after="16m", labels=labels, exp_annotations=annotations)])


def test_a_model_that_is_started_again_and_again_alerts(rules: Path) -> None:
    name = "AgenticModelServerRestarting"
    series = {
        RESTARTS % "airflow-agentic-words-5d8f-abcde": "0 0 1 2 3 4 4x30",
        RESTARTS % "airflow-agentic-other-5d8f-abcde": "0 0 1 1 1x30",
        RESTARTS % "unit-airflow-agentic-words-1": "0 1 2 3 4 5 6x30",
    }
    annotations = {
        "summary": "The model of pod airflow-agentic-words-5d8f-abcde is started again and again",
        "description": "Out of memory: raise resources.limits.memory. Else look at `kubectl logs --previous`.",
    }
    labels = {"container": "model", "pod": "airflow-agentic-words-5d8f-abcde", "severity": "warning"}
    judged(rules, series, [silence(name, "2m"), alert(name, after="8m", labels=labels, exp_annotations=annotations)])
