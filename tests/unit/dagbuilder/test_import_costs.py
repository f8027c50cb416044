"""What every task process pays for: modules, counted in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest
    from conftest import ProjectFolder

ROOT: Final = Path(__file__).resolve().parents[3]
HEAVY: Final = frozenset({"torch", "tensorflow", "keras", "onnxruntime", "transformers", "kubernetes", "pandas", "PIL"})


def loaded(code: str) -> set[str]:
    """The modules in ``sys.modules`` after ``code``."""
    report = f"{code}\nimport sys\nprint('|'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split("|"))


def test_the_plugin_loads_nothing_but_itself() -> None:
    before = loaded("import airflow.plugins_manager")

    own = {"airflow_agentic", "airflow_agentic._version", "airflow_agentic.plugins"}
    added = loaded("import airflow.plugins_manager, airflow_agentic.plugins") - before
    assert "airflow_agentic.plugins" in added
    assert added <= own


def test_a_dag_file_loads_no_framework(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(routes="[{use: {cascade: [cheap, strong]}, accept: prediction.score > 0.5}]")
    monkeypatch.setenv("AIRFLOW_HOME", str(project.root))

    code = f"from airflow_agentic import load_workflows\nload_workflows({str(project.workflows)!r})"
    compiling, compiled = loaded(code), loaded(code)

    never = HEAVY | {"fastapi", "airflow.providers.cncf.kubernetes.operators.pod"}
    assert "airflow_agentic.plan.compile" in compiling
    assert compiling & never == set()
    assert "airflow_agentic.operators.infer" in compiled
    assert compiled & (never | {"airflow_agentic.plan.compile", "pyarrow", "numpy"}) == set()


def test_a_package_import_costs_nothing() -> None:
    assert not {
        name for name in loaded("import airflow_agentic") if name.startswith(("airflow.", "pyarrow", "pydantic"))
    }
