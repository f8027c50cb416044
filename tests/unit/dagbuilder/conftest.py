"""An Airflow home that no test shares with the machine, and a project whose models are never loaded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import API_VERSION, card_data

from airflow_agentic.project import Project, Workflow

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))  # read when Airflow is first imported


class ProjectFolder:
    """Writes specs as YAML; the line numbers of a workflow's ``text`` are those of its file.

    :param root: the project.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workflows = root / "workflows"
        for folder in (self.workflows, root / "models"):
            folder.mkdir()
        for name in ("cheap", "strong", "other"):
            self.card(name)

    def card(self, name: str, **said: Any) -> None:
        """A model card."""
        data = {"apiVersion": API_VERSION, "kind": "Model", **card_data(name, **said)}
        (self.root / "models" / f"{name}.yaml").write_text(yaml.safe_dump(data))

    def write(self, text: str = "", *, name: str = "demo", file: str = "", routes: str = "[{use: cheap}]") -> Path:
        """A workflow's file: four lines of its own, then ``text``."""
        path = self.workflows / (file or f"{name}.yaml")
        path.write_text(f"apiVersion: {API_VERSION}\nkind: Workflow\nname: {name}\nroutes: {routes}\n{text}")
        return path

    def workflow(self, text: str = "", **said: str) -> Workflow:
        """:meth:`write`, then load."""
        return Project(self.root).load(self.write(text, **said))


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    """An empty project with the cards ``cheap``, ``strong`` and ``other``."""
    return ProjectFolder(tmp_path)
