"""What the pod of `helm test` does: may Airflow's ServiceAccount do what it must, and does each model server stand?

Arguments: the wanted rights as JSON, ``[{"resource", "subresource", "verbs"}]``, and the names of models, each with
its label's value. Exits with 1 and says what is missing. Standard library only: it runs in any image with Python.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"


class Cluster:
    """The API server, seen by the pod's ServiceAccount."""

    def __init__(self, server: str = SERVER, account: Path = ACCOUNT) -> None:
        self.namespace = (account / "namespace").read_text().strip()
        self._server = server
        self._token = (account / "token").read_text().strip()
        self._context = ssl.create_default_context(cafile=account / "ca.crt") if server.startswith("https:") else None

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._server}{path}", data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=30, context=self._context) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def may(self, verb: str, resource: str, subresource: str) -> bool:
        """Ask for one right in the pod's namespace."""
        asked = {"namespace": self.namespace, "verb": verb, "resource": resource, "subresource": subresource}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        review = self._ask(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {**kind, "spec": {"resourceAttributes": asked}}
        )
        return bool(review["status"]["allowed"])

    def ready_pods(self, selector: str) -> list[str]:
        """The names of the ready pods with these labels."""
        query = urllib.parse.urlencode({"labelSelector": selector})
        pods = self._ask(f"/api/v1/namespaces/{self.namespace}/pods?{query}")["items"]
        return [
            pod["metadata"]["name"]
            for pod in pods
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]


def missing(cluster: Cluster, rights: list[dict[str, Any]], models: dict[str, str]) -> list[str]:
    """One line a right that Airflow lacks and a model without a ready pod."""
    lines = [
        f"Airflow's ServiceAccount may not {verb} {right['resource']}"
        f"{right['subresource'] and '/' + right['subresource']}: see airflow.rbac in the values"
        for right in rights
        for verb in right["verbs"]
        if not cluster.may(verb, right["resource"], right["subresource"])
    ]
    if lines:
        return lines
    for model, selector in models.items():
        pods = cluster.ready_pods(selector)
        sys.stdout.write(f"{model}: {', '.join(pods) or 'no ready pod'}\n")
        if not pods:
            lines.append(f"model server {model!r} has no ready pod: kubectl get pods --selector {selector}")
    return lines


def main(arguments: list[str]) -> int:
    """Check and say."""
    lines = missing(Cluster(), json.loads(arguments[0]), json.loads(arguments[1]))
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "Airflow may do what it must.\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
