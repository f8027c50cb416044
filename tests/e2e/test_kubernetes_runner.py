"""``runner: kubernetes`` on a real cluster, by a real Airflow and with an S3 store: the answers are the worker's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from stage import ROUTE, TENSORFLOW, Stage, card, expected

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(900)]

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "dags"
CASCADE: Final = ROUTE.replace("use: first", "use: {cascade: [first, second]}\n    accept: prediction.score > 0.9")
RUNS: Final = {"sync": "first", "deferred": "first", "fetched": "words-keras"}
"""By workflow, a model that it uses."""


@pytest.fixture(scope="module")
def project(stage: Stage) -> Path:
    keras = (EXAMPLES / "models" / "words-keras.yaml").read_text()
    folder = stage.project(
        "runner",
        models={
            **{name: card(name) for name in ("first", "second")},
            "words-keras": f"{keras}\nimage: {TENSORFLOW}\nkubernetes: {{fetch: true}}\n",
        },
        workflows={
            "sync": stage.workflow("sync", route=CASCADE),
            "deferred": stage.workflow("deferred", route=CASCADE, deferrable=True),
            "fetched": stage.workflow("fetched", route=ROUTE.replace("first", "words-keras")),
        },
    )
    (folder / "built").mkdir()
    shutil.copy(EXAMPLES / "built" / "words.keras", folder / "built")
    return folder


@pytest.fixture(scope="module")
def runs(stage: Stage, project: Path) -> dict[str, str]:
    """Every workflow's run, side by side: most of a run is waiting."""
    return {name: stage.start(name) for name in RUNS}


@pytest.mark.parametrize("name", RUNS)
def test_pods_answer_as_the_worker_does(stage: Stage, project: Path, runs: dict[str, str], name: str) -> None:
    assert stage.succeeded(name, runs[name]) == expected(project / "workflows" / f"{name}.yaml")
    assert f"INFO airflow_agentic.container.unit  model {RUNS[name]} 1 is loaded" in stage.logs(name, runs[name])
    stage.no_pod_left(name)
