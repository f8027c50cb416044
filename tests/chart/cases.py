"""Values by what they switch on: every toggle of the chart, alone and with what it needs."""

from __future__ import annotations

from typing import Any, Final

CARD: Final = """\
apiVersion: airflow-agentic/v1
kind: Model
name: words
version: "1"
task: text-classification
input: text
output: {classes: [negative, positive], score_kind: other}
runtime:
  framework: python
  handler: airflow_agentic.contrib.rules:KeywordSentiment
  args: {positive: [good], negative: [bad]}
image: registry.example/python:1
resources: {cpu: 500m, memory: 256Mi}
"""
WORKFLOW: Final = """\
apiVersion: airflow-agentic/v1
kind: Workflow
name: reviews
routes: [{use: words}]
"""
DIGEST: Final = "0123456789abcdef" * 4


def server(**more: Any) -> dict[str, Any]:
    """A chart with the model server ``words``, whose card is in the values."""
    return {
        "project": {"cards": {"words.yaml": CARD}},
        "modelServers": [{"name": "words", "card": "words.yaml", **more}],
    }


def elsewhere(**more: Any) -> dict[str, Any]:
    """A chart with the model server ``words``, whose card is in its image."""
    entry = {"name": "words", "card": "/cards/words.yaml", "version": "1", "image": "registry.example/words:1"}
    return {"modelServers": [{**entry, **more}]}


VOLUME: Final = {"artifacts": {"uri": "file:///artifacts/runs", "persistence": {"enabled": True}}}


def gateway(**more: Any) -> dict[str, Any]:
    """A chart with a gateway."""
    entry = {"enabled": True, "image": "registry.example/python:1", "tokens": {"existingSecret": "tokens"}}
    return {
        "project": {"workflows": {"reviews.yaml": WORKFLOW}, "cards": {"words.yaml": CARD}},
        "gateway": {**entry, **more},
    }


def http(**more: Any) -> dict[str, Any]:
    """A chart with the model server ``words`` over HTTP."""
    return server(http={"enabled": True, **more})


LATER: Final = {
    **gateway(),
    "worker": {"enabled": True, "image": "registry.example/gateway:1", "resources": {"limits": {"memory": "1Gi"}}},
    "serviceMonitor": {"enabled": True, "labels": {"prometheus": "main"}},
}
"""Needs a chart of a version that has them."""

CASES: Final[dict[str, dict[str, Any]]] = {
    "defaults": {},
    "names": {"fullnameOverride": "agentic", "nameOverride": "short", "commonLabels": {"team": "ml"}},
    "server": server(),
    "two servers": {
        "modelServers": [*elsewhere()["modelServers"], *elsewhere(name="other", replicas=3)["modelServers"]]
    },
    "card in the image": elsewhere(),
    "existing cards": {**elsewhere(card="words.yaml"), "project": {"existingCards": "my-cards"}},
    "project from an image": {**elsewhere(card="words.yaml"), "project": {"image": "registry.example/project:1"}},
    "workflows": {"project": {"workflows": {"reviews.yaml": WORKFLOW}}},
    "existing workflows": {"project": {"existingWorkflows": "my-workflows"}},
    "gpu": server(gpu=2, gpuResource="amd.com/gpu", runtimeClassName="rocm", strategy={"type": "Recreate"}),
    "placement": server(
        nodeSelector={"disk": "ssd"},
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        affinity={
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}
                ]
            }
        },
        topologySpreadConstraints=[
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"airflow-agentic/model": "words"}},
            }
        ],
        priorityClassName="high",
    ),
    "environment": server(
        env=[
            {"name": "AWS_REGION", "value": "eu-west-1"},
            {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "bucket", "key": "secret"}}},
            {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
        ],
        envFrom=[{"secretRef": {"name": "bucket"}}],
        volumes=[{"name": "cache", "emptyDir": {}}],
        volumeMounts=[{"name": "cache", "mountPath": "/cache"}],
        podLabels={"team": "ml"},
        podAnnotations={"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
        allow=["my_models.words", "my_models.more:Class"],
    ),
    "files from a claim": server(files={"existingClaim": "models"}),
    "files from a bucket": {**server(files={"fetch": [DIGEST]}), "artifacts": {"uri": "s3://bucket/runs"}},
    "files from the volume": {**server(files={"fetch": [DIGEST, DIGEST[::-1]]}), **VOLUME},
    "disruption budget": server(replicas=2, podDisruptionBudget={"enabled": True}),
    "autoscaling": server(autoscaling={"enabled": True, "maxReplicas": 5}),
    "no users": {**server(), "runAs": {"user": None, "group": None, "fsGroup": None}},
    "large users": {**server(), "runAs": {"user": 1000680000, "group": 1000680000, "fsGroup": 1000680000}},
    "volume": VOLUME,
    "volume of a class": {
        "artifacts": {
            "persistence": {"enabled": True, "storageClass": "fast", "accessMode": "ReadWriteOnce", "keep": False}
        }
    },
    "volume without a class": {"artifacts": {"persistence": {"enabled": True, "storageClass": "-"}}},
    "existing volume": {**server(), "artifacts": {"persistence": {"enabled": True, "existingClaim": "runs"}}},
    "other accounts": {
        "models": {"serviceAccount": {"create": False}},
        "airflow": {
            "serviceAccount": {"create": False},
            "serviceAccounts": [{"name": "airflow-worker", "namespace": "airflow"}, {"name": "airflow-triggerer"}],
        },
    },
    "annotated accounts": {
        "models": {"serviceAccount": {"annotations": {"example.com/role": "reader"}}},
        "airflow": {"serviceAccount": {"name": "airflow", "annotations": {"example.com/role": "writer"}}},
    },
    "no rights": {"airflow": {"rbac": {"create": False}}},
    "exec": {"airflow": {"rbac": {"exec": True}}},
    "network policy": {**server(), "networkPolicy": {"enabled": True}},
    "closed network": {"networkPolicy": {"enabled": True, "egress": []}},
    "alerts": {**server(), "prometheusRule": {"enabled": True, "labels": {"prometheus": "main"}}},
    "private registry": {**server(), "imagePullSecrets": [{"name": "registry"}]},
    "test image": {"test": {"image": "registry.example/python:1"}},
    "http server": http(grpc=True, workers=2, drainSeconds=9, args=["--queue-requests=100"]),
    "http server with files": {
        **server(http={"enabled": True}, files={"fetch": [DIGEST]}, allow=["my_models"], strategy={"type": "Recreate"}),
        **VOLUME,
    },
    "http card in the image": elsewhere(http={"enabled": True}),
    "http and warm": {
        "modelServers": [
            *elsewhere()["modelServers"],
            *elsewhere(http={"enabled": True}, podDisruptionBudget={"enabled": True})["modelServers"],
        ]
    },
    "gateway": gateway(),
    "gateway with all": {
        **gateway(
            replicas=3,
            workflows=["reviews"],
            allowUris=["s3://bucket/"],
            allow=["my_models"],
            limits={"running": "32"},
            jobs={"existingSecret": "jobs", "key": "dsn"},
            airflow={"url": "http://airflow-api-server.airflow:8080", "existingSecret": "airflow"},
            service={"type": "NodePort", "annotations": {"example.com/scheme": "internal"}},
            env=[{"name": "A", "value": "b"}],
            envFrom=[{"secretRef": {"name": "bucket"}}],
            resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            autoscaling={"enabled": True},
            podDisruptionBudget={"enabled": True},
            volumes=[{"name": "cache", "emptyDir": {}}],
            volumeMounts=[{"name": "cache", "mountPath": "/cache"}],
            podAnnotations={"example.com/a": "b"},
            nodeSelector={"disk": "ssd"},
            tolerations=[{"key": "serving", "operator": "Exists", "effect": "NoSchedule"}],
            priorityClassName="high",
            serviceAccount={"name": "gateway", "annotations": {"example.com/role": "reader"}},
        ),
        **VOLUME,
        "imagePullSecrets": [{"name": "registry"}],
        "test": {"tokenSecret": "tokens"},
    },
    "gateway with tokens": gateway(tokens={"file": "clients: []\n"}, serviceAccount={"create": False}),
    "gateway with JWT": gateway(
        tokens={}, jwt={"jwks": "https://issuer.example/keys", "issuer": "https://issuer.example", "audience": "models"}
    ),
    "gateway with a project from an image": {**gateway(), "project": {"image": "registry.example/project:1"}},
    "gateway and http server": {**http(), **gateway(), "networkPolicy": {"enabled": True}},
    "closed gateway": {
        **http(),
        **gateway(),
        "networkPolicy": {
            "enabled": True,
            "clients": [{"namespaceSelector": {"matchLabels": {"name": "airflow"}}}],
            "gatewayClients": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
        },
    },
    "http server without a gateway": {**http(), "networkPolicy": {"enabled": True}},
}
