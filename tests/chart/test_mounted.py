"""What Airflow finds where the chart's ConfigMaps are mounted: as links to links, as the kubelet writes them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from airflow.utils.file import list_py_file_paths
from cases import CARD, WORKFLOW
from rendered import one

from airflow_agentic.dagbuilder.load import load_workflows

if TYPE_CHECKING:
    from pathlib import Path

VALUES = {"project": {"cards": {"words.yaml": CARD}, "workflows": {"reviews.yaml": WORKFLOW}}}


def mount(data: dict[str, str], folder: Path, version: str = "..2026_11_26") -> None:
    """A ConfigMap at a folder: each file a link into ``..data``, which links to the folder of this version."""
    (folder / version).mkdir(parents=True)
    (folder / "..data").unlink(missing_ok=True)
    (folder / "..data").symlink_to(version)
    for name, text in data.items():
        (folder / version / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


@pytest.fixture
def airflow(tmp_path: Path) -> Path:
    """Airflow's home with the three lines of the chart's notes, and the path as it is here."""
    for name, folder in (("cards", "models"), ("workflows", "workflows")):
        mount(one("ConfigMap", f"airflow-agentic-{name}", VALUES)["data"], tmp_path / "agentic" / folder)
    (tmp_path / "dags").mkdir()
    text = one("ConfigMap", "airflow-agentic-dags", VALUES)["data"]["agentic.py"]
    (tmp_path / "dags" / "agentic.py").write_text(text.replace("/opt/airflow", str(tmp_path)))
    return tmp_path


def test_the_dag_file_builds_the_dags_of_the_mounted_workflows(airflow: Path) -> None:
    (found,) = list_py_file_paths(airflow / "dags")
    (call,) = [
        node
        for node in ast.walk(ast.parse((airflow / "dags" / "agentic.py").read_text()))
        if isinstance(node, ast.Call)
    ]
    (folder,) = ast.literal_eval(f"[{', '.join(map(ast.unparse, call.args))}]")
    built = load_workflows(folder)
    assert str(found).endswith("agentic.py")
    assert {dag_id: "spec-error" in dag.tags for dag_id, dag in built.items()} == {"reviews": False}


def test_a_changed_map_changes_the_dags(airflow: Path) -> None:
    changed = WORKFLOW.replace("use: words", "use: nothing")
    mount({"reviews.yaml": changed}, airflow / "agentic" / "workflows", "..2026_11_27")
    built = load_workflows(str(airflow / "agentic" / "workflows"))
    assert "spec-error" in built["reviews"].tags


def test_folders_within_the_dags_folder_are_refused_by_airflow(airflow: Path) -> None:
    mount({"reviews.yaml": WORKFLOW}, airflow / "dags" / "workflows")
    with pytest.raises(RuntimeError, match="Detected recursive loop when walking DAG directory"):
        list_py_file_paths(airflow / "dags")
