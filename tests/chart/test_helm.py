"""Helm's own opinion: lint without a warning, for each Kubernetes; NOTES say the next command."""

from __future__ import annotations

import re
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from cases import CASES, server
from rendered import CHART, helm, one, templates
from services import require

if TYPE_CHECKING:
    from pathlib import Path

WARNING = 2


def findings(chart: Path, case: str, version: str | None = None) -> list[str]:
    require(helm is not None, "needs Helm as a library: pip install helm-python-sdk")
    report = helm.lint(chart, CASES[case], strict=True, kube_version=version)
    assert report["total_charts_linted"] == 1
    return [message["error"] for message in report["messages"] if message["severity"] >= WARNING] + report["errors"]


@pytest.mark.parametrize("version", ["v1.29.0", "v1.34.0"])
@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing(case: str, version: str) -> None:
    assert findings(CHART, case, version) == []


def test_lint_finds_what_is_wrong(tmp_path: Path) -> None:
    copy = tmp_path / "airflow-agentic"
    shutil.copytree(CHART, copy)
    with (copy / "templates" / "project.yaml").open("a") as file:
        file.write("\nkind: [\n")
    assert findings(copy, "defaults") != []


def test_a_release_with_model_servers_is_tested_next() -> None:
    notes = templates(server(), release="prod")["NOTES.txt"]
    assert "model servers words." in notes
    assert "\n  helm test prod --namespace models\n" in notes
    (rollout,) = re.findall(r"^  kubectl (.*)$", notes, re.MULTILINE)
    assert shlex.split(rollout)[-1] == "app.kubernetes.io/instance=prod"


def test_a_release_without_is_bound_next() -> None:
    notes = templates()["NOTES.txt"]
    assert "no model servers" in notes
    assert "helm test" not in notes
    assert "the ServiceAccount airflow-agentic-airflow, or bind theirs: airflow.serviceAccounts." in notes


@pytest.mark.parametrize("case", ["workflows", "existing workflows", "server with workflows"])
def test_the_lines_for_airflows_chart_name_what_is_there(case: str) -> None:
    workflows = CASES["workflows"]["project"]["workflows"]
    both = {**server(), "project": {**server()["project"], "workflows": workflows}}
    values = both if case == "server with workflows" else CASES[case]
    text = re.findall(r"^  ((?:images|volumes|volumeMounts): .*)$", templates(values)["NOTES.txt"], re.MULTILINE)
    lines = yaml.safe_load("\n".join(text))
    maps = {volume["name"]: volume["configMap"]["name"] for volume in lines["volumes"]}
    paths = {mount["name"]: mount["mountPath"] for mount in lines["volumeMounts"]}
    assert maps.keys() == paths.keys()
    assert paths["agentic-workflows"] == "/opt/airflow/agentic/workflows"
    assert paths["agentic-dags"] == "/opt/airflow/dags/agentic.py"
    assert lines["volumeMounts"][-1]["subPath"] == "agentic.py"
    assert "/opt/airflow/agentic/workflows" in one("ConfigMap", maps["agentic-dags"], values)["data"]["agentic.py"]
    if case == "existing workflows":
        assert maps["agentic-workflows"] == "my-workflows"
    else:
        assert one("ConfigMap", maps["agentic-workflows"], values)["data"] == workflows
    assert ("agentic-cards" in maps) is (case == "server with workflows")
    if "agentic-cards" in maps:
        assert paths["agentic-cards"] == "/opt/airflow/agentic/models"
