"""The gateway and model servers over HTTP: what runs in them, who finds whom, and how they roll over and end."""

from __future__ import annotations

import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from cases import CASES, WORKFLOW, elsewhere, gateway, http
from rendered import CHART, kinds, objects, one, templates
from typer.testing import CliRunner

from airflow_agentic.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS: Final = "airflow-agentic-words-http"
GATEWAY: Final = "airflow-agentic-gateway"
BOTH: Final = CASES["gateway and http server"]


def spec(name: str, values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = one("Deployment", name, values)["spec"]["template"]["spec"]
    return found


def container(name: str, values: dict[str, Any]) -> dict[str, Any]:
    (found,) = spec(name, values)["containers"]
    return found  # type: ignore[no-any-return]


def test_a_model_server_over_http_serves_its_card() -> None:
    found = container(MODELS, CASES["http server"])
    assert found["command"] == ["python", "-m", "airflow_agentic", "serve"]
    assert found["args"] == [
        "words",
        "--cards",
        "/etc/airflow-agentic/models",
        "--host=0.0.0.0",
        "--port=8080",
        "--grpc-port=8081",
        "--workers=2",
        "--drain=9",
        "--queue-requests=100",
    ]
    assert container(MODELS, CASES["http card in the image"])["args"][1:3] == ["--cards", "/cards"]
    with_files = container(MODELS, CASES["http server with files"])
    assert with_files["args"][-2:] == ["--allow-handler", "my_models"]


@pytest.mark.parametrize(("command", "name"), [("serve", MODELS), ("gateway", GATEWAY)])
def test_the_commands_know_the_options(command: str, name: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}).output
    for case, values in CASES.items():
        if f"Deployment/{name}" in kinds(values):
            given = [word.partition("=")[0] for word in container(name, values)["args"] if word.startswith("--")]
            unknown = [option for option in given if option not in shown]
            assert (case, unknown) == (case, [])


def test_it_is_ready_with_its_model_and_lives_without() -> None:
    found = container(MODELS, http())
    paths = {probe: found[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    assert paths == {
        "startup": "/v2/models/words/ready",
        "readiness": "/v2/models/words/ready",
        "liveness": "/v2/health/live",
    }
    asked = container(GATEWAY, gateway())
    paths = {probe: asked[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/live", "readiness": "/health/ready", "liveness": "/health/live"}


@pytest.mark.parametrize("name", [MODELS, GATEWAY])
def test_a_new_pod_is_ready_before_an_old_one_ends(name: str) -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    assert one("Deployment", name, BOTH)["spec"]["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}


def test_an_own_strategy_stays() -> None:
    assert one("Deployment", MODELS, CASES["http server with files"])["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize("name", [MODELS, GATEWAY])
def test_services_find_their_pods(name: str) -> None:
    labels = one("Deployment", name, BOTH)["spec"]["template"]["metadata"]["labels"]
    service = one("Service", name, BOTH)["spec"]
    assert service["selector"].items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container(name, BOTH)["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports


def test_a_model_may_be_warm_and_served() -> None:
    found = kinds(CASES["http and warm"])
    assert {"Deployment/airflow-agentic-words", f"Deployment/{MODELS}", f"Service/{MODELS}"} <= found
    assert "Service/airflow-agentic-words" not in found
    warm, served = (
        one("Deployment", name, CASES["http and warm"])["spec"]["selector"]["matchLabels"]
        for name in ("airflow-agentic-words", MODELS)
    )
    assert warm != served


def test_airflow_needs_no_commands_in_pods_that_are_served() -> None:
    def resources(values: dict[str, Any]) -> set[str]:
        return {one for rule in role(values)["rules"] for one in rule["resources"]}

    def role(values: dict[str, Any]) -> dict[str, Any]:
        return one("Role", "airflow-agentic-airflow", values)

    assert "pods/exec" not in resources(http())
    assert "pods/exec" in resources(CASES["http and warm"])


def test_the_gateway_knows_where_models_are_served() -> None:
    environment = {entry["name"]: entry for entry in container(GATEWAY, BOTH)["env"]}
    assert environment["AIRFLOW_AGENTIC_SERVICE_URL"]["value"] == f"words=http://{MODELS}.models:8080"
    assert "AIRFLOW_AGENTIC_SERVICE_URL" not in {entry["name"] for entry in container(GATEWAY, gateway())["env"]}


def test_jobs_lie_in_the_pod_or_in_postgresql() -> None:
    (alone,) = container(GATEWAY, gateway())["env"]
    assert alone == {"name": "AIRFLOW_AGENTIC_GATEWAY_JOBS", "value": "sqlite:////var/lib/airflow-agentic/jobs.db"}
    shared = container(GATEWAY, CASES["gateway with all"])["env"][0]
    assert shared["valueFrom"] == {"secretKeyRef": {"name": "jobs", "key": "dsn"}}


def test_tokens_come_from_a_secret_and_start_nothing_anew() -> None:
    values = CASES["gateway with tokens"]
    assert one("Secret", f"{GATEWAY}-tokens", values)["stringData"] == {"tokens.yaml": "clients: []\n"}
    (mounted,) = [volume for volume in spec(GATEWAY, values)["volumes"] if volume["name"] == "tokens"]
    assert mounted["secret"] == {"secretName": f"{GATEWAY}-tokens"}
    assert "--tokens=/etc/airflow-agentic-tokens/tokens.yaml" in container(GATEWAY, values)["args"]
    other = gateway(tokens={"file": "clients: [{}]\n"}, serviceAccount={"create": False})
    assert (
        one("Deployment", GATEWAY, other)["spec"]["template"] == one("Deployment", GATEWAY, values)["spec"]["template"]
    )


def test_cards_and_workflows_start_the_gateway_anew() -> None:
    other = gateway() | {"project": {"workflows": {"reviews.yaml": WORKFLOW.replace("words", "more")}}}
    digests = {
        one("Deployment", GATEWAY, values)["spec"]["template"]["metadata"]["annotations"][
            "airflow-agentic/project-sha256"
        ]
        for values in (gateway(), other)
    }
    assert len(digests) == 2


def test_only_the_gateway_and_clients_reach_model_servers() -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in objects(CASES["closed gateway"]) if is_policy(item)}
    assert set(policies) == {f"airflow-agentic-{name}" for name in ("models", "http-model-servers", "gateway")}
    (rule,) = policies["airflow-agentic-http-model-servers"]["ingress"]
    by_gateway, by_airflow = rule["from"]
    labels = one("Deployment", GATEWAY, BOTH)["spec"]["template"]["metadata"]["labels"]
    assert by_gateway["podSelector"]["matchLabels"].items() <= labels.items()
    assert by_airflow == {"namespaceSelector": {"matchLabels": {"name": "airflow"}}}
    (asking,) = policies["airflow-agentic-gateway"]["ingress"]
    assert {"podSelector": {"matchLabels": {"app": "shop"}}} in asking["from"]
    served = policies["airflow-agentic-http-model-servers"]["podSelector"]["matchLabels"]
    assert {"podSelector": {"matchLabels": served}} in [
        peer for rule in policies["airflow-agentic-gateway"]["egress"] for peer in rule.get("to", [])
    ]


def test_without_gateway_and_clients_nobody_reaches_them() -> None:
    policy = one("NetworkPolicy", "airflow-agentic-http-model-servers", CASES["http server without a gateway"])
    assert policy["spec"]["ingress"] == []


def is_policy(item: dict[str, Any]) -> bool:
    return bool(item["kind"] == "NetworkPolicy")


def test_the_notes_say_how_to_ask() -> None:
    notes = templates(BOTH)["NOTES.txt"]
    assert f"Airflow and others reach the model words at http://{MODELS}.models:8080" in notes
    assert f"kubectl --namespace models port-forward service/{GATEWAY} 8000:8000" in notes
    body = '{"task":"text-analysis","input":"This is a test sentence."}'
    header = "-H 'Content-Type: application/json' -H 'Authorization: Bearer TOKEN'"
    assert f"curl -X POST localhost:8000/predict {header} -d '{body}'" in notes


class Asked(BaseHTTPRequestHandler):
    """A gateway whose answers the test says, by path and whether there is a token."""

    server: Any

    def _answer(self) -> None:
        status, body = self.server.said[self.path, "Authorization" in self.headers]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def asked() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), Asked) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        server.said = {  # type: ignore[attr-defined]  # the test's own
            ("/health/ready", False): (200, {}),
            ("/predict", False): (401, {}),
            ("/predict", True): (200, {"label": "positive"}),
        }
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({("/health/ready", False): (503, {})}, "the gateway is not ready (503): {}"),
        ({("/predict", False): (200, {})}, "who has no token is answered with 200, not with 401: {}"),
        ({("/predict", True): (503, {})}, "POST /predict is answered with 503"),
        ({("/predict", True): (200, {"error": {"code": "x"}})}, "the answer is an error: {'code': 'x'}"),
    ],
)
def test_what_helm_test_says_of_a_gateway(asked: Any, changed: dict[Any, Any], said: str | None) -> None:
    found = importlib.util.spec_from_file_location("gateway_test", CHART / "files" / "gateway.py")
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    asked.said |= changed
    url = f"http://127.0.0.1:{asked.server_address[1]}"
    assert script.wrong(url, "{}", "secret") == said
    if ("/predict", True) in changed:
        assert script.wrong(url, "{}", "") is None


def test_helm_test_asks_with_the_token_that_is_named() -> None:
    pod = one("Pod", "airflow-agentic-test-gateway", CASES["gateway with all"])["spec"]["containers"][0]
    assert pod["env"][0]["valueFrom"] == {"secretKeyRef": {"name": "tokens", "key": "token"}}
    assert "env" not in one("Pod", "airflow-agentic-test-gateway", gateway())["spec"]["containers"][0]
    assert (
        elsewhere()["modelServers"][0]["image"]
        == one("Pod", "airflow-agentic-test", elsewhere())["spec"]["containers"][0]["image"]
    )
