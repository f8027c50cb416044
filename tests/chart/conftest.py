"""Charts of later versions."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from rendered import CHART

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of a version that has gateway and worker."""
    copy = tmp_path_factory.mktemp("later") / "airflow-agentic"
    shutil.copytree(CHART, copy)
    text = (copy / "Chart.yaml").read_text()
    (copy / "Chart.yaml").write_text(re.sub(r"appVersion: .*", 'appVersion: "0.3.0"', text))
    return copy
