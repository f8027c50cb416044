"""The pod of ``helm test``: what it runs, and what it says of an API server that answers this or that."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cases import CASES, elsewhere, server
from rendered import CHART, kinds, one

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

SCRIPT = CHART / "files" / "access.py"


class Api(HTTPServer):
    """As much of Kubernetes as the script asks for."""

    denied: set[str]
    pods: dict[str, dict[str, str]]
    asked: list[dict[str, str]]


class Answers(BaseHTTPRequestHandler):
    server: Api

    def _answer(self, found: dict[str, Any]) -> None:
        assert self.headers["Authorization"] == "Bearer secret"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = review["spec"]["resourceAttributes"]
        self.server.asked.append(asked)
        name = "/".join(filter(None, [asked["verb"], asked["resource"], asked["subresource"]]))
        self._answer({"status": {"allowed": name not in self.server.denied}})

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        assert url.path == "/api/v1/namespaces/models/pods"
        (selector,) = parse_qs(url.query)["labelSelector"]
        found = [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
            for name, ready in self.server.pods.get(selector, {}).items()
        ]
        self._answer({"items": [*found, {"metadata": {"name": "new"}, "status": {}}]})

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(("127.0.0.1", 0), Answers) as started:
        started.denied, started.pods, started.asked = set(), {}, []
        thread = threading.Thread(target=started.serve_forever)
        thread.start()
        yield started
        started.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("access", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def cluster(script: ModuleType, api: Api, tmp_path: Path) -> Any:
    (tmp_path / "namespace").write_text("models\n")
    (tmp_path / "token").write_text("secret\n")
    return script.Cluster(f"http://127.0.0.1:{api.server_port}", tmp_path)


def arguments(values: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What the pod is given."""
    _, _, text, rights, models = one("Pod", "airflow-agentic-test", values)["spec"]["containers"][0]["command"]
    assert text == SCRIPT.read_text()
    return json.loads(rights), json.loads(models)


def test_it_asks_for_every_right_of_the_role(script: ModuleType, cluster: Any, api: Api) -> None:
    rights, models = arguments(elsewhere())
    api.pods[models["words"]] = {"words-1": "True"}
    assert script.missing(cluster, rights, models) == []
    rules = one("Role", "airflow-agentic-airflow", elsewhere())["rules"]
    wanted = {f"{verb} {name}" for rule in rules for name in rule["resources"] for verb in rule["verbs"]}
    asked = {f"{one['verb']} {'/'.join(filter(None, [one['resource'], one['subresource']]))}" for one in api.asked}
    assert asked == wanted
    assert {one["namespace"] for one in api.asked} == {"models"}


def test_it_names_each_right_that_is_missing(script: ModuleType, cluster: Any, api: Api) -> None:
    api.denied = {"create/pods", "get/pods/log"}
    assert script.missing(cluster, *arguments(elsewhere())) == [
        "Airflow's ServiceAccount may not create pods: see airflow.rbac in the values",
        "Airflow's ServiceAccount may not get pods/log: see airflow.rbac in the values",
    ]


def test_it_names_a_model_without_a_ready_pod(script: ModuleType, cluster: Any, api: Api) -> None:
    rights, models = arguments(CASES["two servers"])
    api.pods = {models["words"]: {"words-1": "False", "words-2": "True"}, models["other"]: {"other-1": "False"}}
    assert script.missing(cluster, rights, models) == [
        f"model server 'other' has no ready pod: kubectl get pods --selector {models['other']}"
    ]


def test_its_selector_is_that_of_the_deployment() -> None:
    _, models = arguments(elsewhere())
    labels = one("Deployment", "airflow-agentic-words", elsewhere())["spec"]["selector"]["matchLabels"]
    assert dict(part.split("=") for part in models["words"].split(",")) == labels


@pytest.mark.parametrize(
    ("values", "image"),
    [
        (server(), "registry.example/python:1"),
        ({**server(), "test": {"image": "registry.example/other:1"}}, "registry.example/other:1"),
        (CASES["test image"], "registry.example/python:1"),
    ],
)
def test_its_image_is_that_of_the_first_server_or_named(values: dict[str, Any], image: str) -> None:
    pod = one("Pod", "airflow-agentic-test", values)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["containers"][0]["image"] == image
    assert pod["spec"]["serviceAccountName"] == "airflow-agentic-airflow"


@pytest.mark.parametrize("values", [{}, {**elsewhere(), **CASES["other accounts"]}], ids=["no image", "no account"])
def test_there_is_none_without_image_or_account(values: dict[str, Any]) -> None:
    assert [name for name in kinds(values) if name.startswith("Pod/")] == []
