"""The example workflow ``mixed-inbox`` with each model in a pod, of images with real torch and TensorFlow.

Models without files are in an image with their packages; the others' files are fetched from the bucket. Records name
photos by their path, which a volume has for the pods, too.
"""

from __future__ import annotations

import shutil
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest
import yaml
from stage import PACKAGES, TENSORFLOW, TORCH, Stage, expected

pytestmark = [pytest.mark.e2e, pytest.mark.models, pytest.mark.timeout(900)]

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "dags"
WORKFLOW: Final = EXAMPLES / "workflows" / "mixed-inbox.yaml"
IMAGES: Final = {
    "lite0-tf": TENSORFLOW,
    "words-keras": TENSORFLOW,
    "lite2-torch": TORCH,
    "minilm-torch": TORCH,
    "vader": PACKAGES,
    "fasttext-langid": PACKAGES,
    "lingua": PACKAGES,
}


@pytest.fixture(scope="module")
def project(stage: Stage) -> Path:
    photos = {file.name: b64encode(file.read_bytes()).decode() for file in (EXAMPLES / "data" / "images").iterdir()}
    stage.pods.create_namespaced_config_map(stage.space, {"metadata": {"name": "photos"}, "binaryData": photos})
    models = {name: (EXAMPLES / "models" / f"{name}.yaml").read_text() for name in IMAGES}
    for name, text in models.items():
        models[name] = f"{text}\nimage: {IMAGES[name]}\nkubernetes: {{fetch: true}}\n"
    route = yaml.safe_load(WORKFLOW.read_text())
    parts = {key: route[key] for key in ("preprocess", "routes")}
    parts |= {"input": {"uri": "../data/inbox.jsonl"}, "parallelism": 1}
    folder = stage.projects / "mixed"
    workflow = stage.workflow(
        "mixed-inbox",
        route=yaml.safe_dump(parts),
        volumes=[{"name": "photos", "configMap": {"name": "photos"}}],
        volume_mounts=[{"name": "photos", "mountPath": str(folder / "data" / "images")}],
    )
    for part in ("data", "built"):
        shutil.copytree(EXAMPLES / part, folder / part)
    return stage.project("mixed", models=models, workflows={"mixed-inbox": workflow})


def test_real_models_in_pods_answer_as_they_do_here(stage: Stage, project: Path) -> None:
    run_id = stage.start("mixed-inbox")
    here = expected(WORKFLOW)

    assert stage.succeeded("mixed-inbox", run_id) == here
    assert {row["model"] for row in here} >= {"lite0-tf", "lite2-torch"}
    stage.no_pod_left("mixed-inbox")
