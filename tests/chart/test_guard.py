"""Values that cannot work are refused, all of them at once, with the keys and the way out."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from cases import CARD, DIGEST, LATER, WORKFLOW, elsewhere, gateway, http, server
from rendered import CHART, refused, templates

if TYPE_CHECKING:
    from pathlib import Path

CARDS = {"words.yaml": CARD}
WORKFLOWS = {"reviews.yaml": WORKFLOW}
PERSISTENCE = {"persistence": {"enabled": True}}
PAIRS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "cards twice": (
        {"project": {"cards": CARDS, "existingCards": "mine"}},
        "project.cards and project.existingCards are both set, and pods mount one ConfigMap: remove one of them",
    ),
    "workflows twice": (
        {"project": {"workflows": WORKFLOWS, "existingWorkflows": "mine"}},
        "project.workflows and project.existingWorkflows are both set, and pods mount one "
        "ConfigMap: remove one of them",
    ),
    "cards and an image": (
        {"project": {"cards": CARDS, "image": "i:1"}},
        "project.image is set beside project.cards or project.existingCards, and pods take their project from one "
        "place: remove one of them",
    ),
    "workflows and an image": (
        {"project": {"existingWorkflows": "mine", "image": "i:1"}},
        "project.image is set beside project.workflows or project.existingWorkflows, and pods take their project from "
        "one place: remove one of them",
    ),
    "our labels": (
        {"commonLabels": {"app.kubernetes.io/name": "x"}},
        'commonLabels has "app.kubernetes.io/name", which the chart sets: remove it',
    ),
    "our pod labels": (
        elsewhere(podLabels={"airflow-agentic/model": "x"}),
        'modelServers[0].podLabels has "airflow-agentic/model", which the chart sets: remove it',
    ),
    "our pod annotations": (
        elsewhere(podAnnotations={"airflow-agentic/socket": "/x"}),
        'modelServers[0].podAnnotations has "airflow-agentic/socket", which the chart sets: remove it',
    ),
    "one name twice": (
        {"modelServers": [*elsewhere(name="a.b")["modelServers"], *elsewhere(name="a_b")["modelServers"]]},
        'modelServers[1].name "a_b" and modelServers[0] give both the Deployment '
        '"airflow-agentic-a-b": a model has one '
        "server here, so raise its replicas, or use another release",
    ),
    "no cards": (
        elsewhere(card="words.yaml"),
        'modelServers[0].card is the file "words.yaml", but there are no cards: set project.cards, '
        "project.existingCards or project.image, or an absolute path in the image",
    ),
    "another card": (
        {"project": {"cards": CARDS}, **elsewhere(card="word.yaml")},
        'modelServers[0].card "word.yaml" is not in project.cards, which has words.yaml: add it, or correct the name',
    ),
    "no card at all": (
        {"project": {"cards": {"words.yaml": "- 1"}}, **elsewhere(card="words.yaml")},
        'project.cards has no name in "words.yaml": it is not a model card',
    ),
    "another name": (
        {"project": {"cards": CARDS}, "modelServers": [{"name": "word", "card": "words.yaml"}]},
        'modelServers[0].name is "word", but the card "words.yaml" names its model "words": Airflow finds pods by that '
        "name, so write name: words",
    ),
    "another version": (
        server(version="2"),
        'modelServers[0].version is "2", but the card "words.yaml" says "1": remove version',
    ),
    "no version": (
        {"modelServers": [{"name": "words", "card": "/words.yaml", "image": "i:1"}]},
        "modelServers[0].version is missing, and the text of the card is not in project.cards: "
        "write the card's version",
    ),
    "no image": (
        {"modelServers": [{"name": "words", "card": "/words.yaml", "version": "1"}]},
        "modelServers[0].image is empty, and neither modelServerDefaults nor a card in project.cards has an image: "
        "set one",
    ),
    "GPUs twice": (
        elsewhere(gpu=1, resources={"limits": {"nvidia.com/gpu": 2}}),
        'modelServers[0].gpu and modelServers[0].resources.limits["nvidia.com/gpu"] both ask for '
        "GPUs: remove one of them",
    ),
    "autoscaling without a request": (
        elsewhere(autoscaling={"enabled": True}),
        "modelServers[0].autoscaling.enabled needs to know the CPU a pod asks for: set resources.requests.cpu",
    ),
    "autoscaling downwards": (
        server(autoscaling={"enabled": True, "minReplicas": 4}),
        "modelServers[0].autoscaling.minReplicas 4 is more than maxReplicas 3: raise maxReplicas",
    ),
    "files twice": (
        {**elsewhere(files={"existingClaim": "c", "fetch": [DIGEST]}), "artifacts": {"uri": "s3://b"}},
        "modelServers[0].files.existingClaim and modelServers[0].files.fetch are both set, and /models is one volume: "
        "remove one of them",
    ),
    "files from nowhere": (
        elsewhere(files={"fetch": [DIGEST]}),
        "modelServers[0].files.fetch needs the store to fetch from: set artifacts.uri",
    ),
    "a folder of the node": (
        elsewhere(volumes=[{"name": "disk", "hostPath": {"path": "/disk"}}]),
        'modelServers[0].volumes has the hostPath "disk", which pod security "restricted" forbids: make a '
        "PersistentVolume of it, and name its claim",
    ),
    "a password in clear": (
        elsewhere(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}]),
        "modelServers[0].env has the value of AWS_SECRET_ACCESS_KEY in clear: put it into a Secret, and write "
        "valueFrom.secretKeyRef",
    ),
    "a password in clear for all": (
        {**elsewhere(), "modelServerDefaults": {"env": [{"name": "HF_TOKEN", "value": "abc"}]}},
        "modelServers[0].env has the value of HF_TOKEN in clear: put it into a Secret, and write "
        "valueFrom.secretKeyRef",
    ),
    "a password of the worker": (
        {"worker": {"env": [{"name": "broker_password", "value": "abc"}]}},
        "worker.env has the value of broker_password in clear: put it into a Secret, and write valueFrom.secretKeyRef",
    ),
    "rights for nobody": (
        {"airflow": {"serviceAccount": {"create": False}}},
        "airflow.rbac.create gives rights to nobody: set airflow.serviceAccount.create or name, or list "
        "airflow.serviceAccounts",
    ),
    "a claim that nobody mounts": (
        {"artifacts": {"persistence": {"existingClaim": "c"}}},
        "artifacts.persistence.existingClaim is set, but no pod mounts it: set artifacts.persistence.enabled",
    ),
    "a folder of the pod": (
        {"artifacts": {"uri": "file:///runs"}},
        'artifacts.uri "file:///runs" is a folder of each pod alone: set artifacts.persistence.enabled, or the URI of '
        "a bucket",
    ),
    "a bucket and a volume": (
        {"artifacts": {"uri": "s3://b/runs", **PERSISTENCE}},
        'artifacts.uri "s3://b/runs" is not in the volume of artifacts.persistence: write '
        "file:///artifacts, or disable "
        "the volume",
    ),
    "beside the volume": (
        {"artifacts": {"uri": "file:///artifacts2", **PERSISTENCE}},
        'artifacts.uri "file:///artifacts2" is not in the volume of artifacts.persistence: write file:///artifacts, or '
        "disable the volume",
    ),
    "metrics too early": (
        {"serviceMonitor": {"enabled": True}},
        "serviceMonitor.enabled is true, but airflow-agentic 0.1.0 has no metrics: they come with 0.3.0, so set "
        "serviceMonitor.enabled=false",
    ),
    "an http server that is killed while it drains": (
        {**http(drainSeconds=60)},
        "modelServers[0].terminationGracePeriodSeconds 60 ends the pod within http.drainSeconds 60, while it still "
        "answers: raise it",
    ),
    "http options without http": (
        server(http={"workers": 2}),
        "modelServers[0].http is set, but http.enabled is false: set it",
    ),
    "a gateway for nobody": (
        gateway(tokens={}),
        "gateway.tokens.file, gateway.tokens.existingSecret and gateway.jwt.jwks say who may ask, and 0 of them are "
        "set: set one",
    ),
    "tokens twice": (
        gateway(tokens={"existingSecret": "a", "file": "clients: []"}),
        "gateway.tokens.file, gateway.tokens.existingSecret and gateway.jwt.jwks say who may ask, and 2 of them are "
        "set: set one",
    ),
    "JWT for anybody": (
        gateway(tokens={}, jwt={"jwks": "https://issuer.example/keys", "issuer": "https://issuer.example"}),
        "gateway.jwt.jwks is set without issuer and audience, and tokens made for others would be taken: set "
        "gateway.jwt.issuer and gateway.jwt.audience",
    ),
    "gateways that know their own jobs only": (
        gateway(replicas=2),
        "gateway has up to 2 pods, and each would know its own jobs only: set gateway.jobs.existingSecret, a Secret "
        "with the URL of a PostgreSQL, or run one pod",
    ),
    "more gateways that know their own jobs only": (
        gateway(autoscaling={"enabled": True}, resources={"requests": {"cpu": 1}}),
        "gateway has up to 3 pods, and each would know its own jobs only: set gateway.jobs.existingSecret, a Secret "
        "with the URL of a PostgreSQL, or run one pod",
    ),
    "a gateway that is killed while it drains": (
        gateway(drainSeconds=60),
        "gateway.terminationGracePeriodSeconds 45 ends the pod before drainDelaySeconds and drainSeconds, together 65, "
        "are over: raise it",
    ),
    "Dag runs without a store": (
        gateway(airflow={"url": "http://airflow:8080", "existingSecret": "airflow"}),
        "gateway.airflow.url needs a token, and the store where Dag runs leave their answers: set "
        "gateway.airflow.existingSecret and artifacts.uri",
    ),
    "a limit with a key of its own": (
        gateway(limits={"drain_seconds": "5"}),
        "gateway.limits has drain_seconds, which has a key of its own: set gateway.drainSeconds",
    ),
    "gateways scaled without a request": (
        gateway(autoscaling={"enabled": True}, jobs={"existingSecret": "jobs"}),
        "gateway.autoscaling.enabled needs to know the CPU a pod asks for: set gateway.resources.requests.cpu",
    ),
    "gateways scaled downwards": (
        gateway(
            autoscaling={"enabled": True, "minReplicas": 4},
            jobs={"existingSecret": "jobs"},
            resources={"requests": {"cpu": 1}},
        ),
        "gateway.autoscaling.minReplicas 4 is more than maxReplicas 3: raise maxReplicas",
    ),
    "a folder of the gateway's node": (
        gateway(volumes=[{"name": "disk", "hostPath": {"path": "/disk"}}]),
        'gateway.volumes has the hostPath "disk", which pod security "restricted" forbids: make a PersistentVolume of '
        "it, and name its claim",
    ),
    "our annotations at the gateway": (
        gateway(podAnnotations={"airflow-agentic/project-sha256": "x"}),
        'gateway.podAnnotations has "airflow-agentic/project-sha256", which the chart sets: remove it',
    ),
    "worker too early": (
        {"worker": {"enabled": True, "image": "i:1"}},
        "worker.enabled is true, but airflow-agentic 0.1.0 has no worker: it comes with 0.3.0, so set "
        "worker.enabled=false",
    ),
    "nothing to watch": (
        {"prometheusRule": {"enabled": True}},
        "prometheusRule.enabled is true, but there is nothing to watch: add modelServers, or set "
        "prometheusRule.enabled=false",
    ),
}
UNWATCHED: Final = (
    "serviceMonitor.enabled is true, but only the gateway has metrics: set gateway.enabled, or "
    "serviceMonitor.enabled=false"
)
WITHOUT: Final = [
    "gateway.image is empty: set an image with airflow-agentic",
    "gateway.enabled is true, but there are no workflows: set project.workflows, project.existingWorkflows or "
    "project.image",
    "worker.image is empty: set an image with airflow-agentic",
    "worker.enabled is true, but there are no workflows: set project.workflows, project.existingWorkflows or "
    "project.image",
]


@pytest.mark.parametrize("name", PAIRS)
def test_what_cannot_work_is_refused(name: str) -> None:
    values, message = PAIRS[name]
    assert refused(values) == [message]


def test_every_refusal_of_the_chart_is_shown_here() -> None:
    guard = (CHART / "templates" / "_guard.tpl").read_text()
    written = re.findall(r'append \$problems \(?(?:printf )?("(?:[^"\\]|\\.)*")', guard)
    assert len(written) == guard.count("append $problems")
    shown = [*(message for _, message in PAIRS.values()), *WITHOUT, UNWATCHED]
    patterns = [re.sub(r"%[sqd]", ".*", re.escape(json.loads(text))) for text in written]
    assert [text for text in patterns if not any(re.fullmatch(text, message) for message in shown)] == []


def test_all_problems_are_listed_at_once() -> None:
    values = {**elsewhere(card="words.yaml", image=""), "artifacts": {"uri": "file:///runs"}}
    assert [line.split(" ")[0] for line in refused(values)] == [
        "modelServers[0].card",
        "modelServers[0].image",
        "artifacts.uri",
    ]


def test_later_services_need_an_image_and_workflows(later: Path) -> None:
    entry = {"enabled": True, "tokens": {"existingSecret": "tokens"}}
    assert refused({"gateway": entry, "worker": {"enabled": True}}, chart=later) == WITHOUT
    assert refused({"serviceMonitor": {"enabled": True}}, chart=later) == [UNWATCHED]
    assert templates(LATER, chart=later)["worker.yaml"].count("kind: Deployment") == 1


@pytest.mark.parametrize(
    "name", ["GOOGLE_APPLICATION_CREDENTIALS", "AWS_WEB_IDENTITY_TOKEN_FILE", "TOKENIZERS_PARALLELISM"]
)
def test_a_path_or_switch_is_no_password(name: str) -> None:
    assert templates(elsewhere(env=[{"name": name, "value": "/x"}]))
