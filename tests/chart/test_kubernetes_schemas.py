"""Every object of every case is one that Kubernetes 1.29 to 1.34 knows, without a field that it would drop."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
from cases import CASES, LATER, server
from rendered import objects

VERSIONS = ("1.29.0", "1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0")
EXTENSIONS = {"ServiceMonitor", "PrometheusRule"}
"""Of the Prometheus operator: no schema is at hand; ``test_monitoring`` looks at what matters in them."""


def distinct() -> list[dict[str, Any]]:
    """Each different object of all cases, once."""
    found = {json.dumps(item, sort_keys=True): item for values in CASES.values() for item in objects(values)}
    return [item for item in found.values() if item["kind"] not in EXTENSIONS]


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid(version: str) -> None:
    everything = distinct()
    assert len({item["kind"] for item in everything}) == 12
    for item in everything:
        kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_of_later_versions_are_valid(version: str, later: Any) -> None:
    for item in objects(LATER, chart=later):
        if item["kind"] not in EXTENSIONS:
            kubernetes_validate.validate(item, version, strict=True)


def test_an_unknown_field_is_noticed() -> None:
    (deployment,) = [item for item in objects(server()) if item["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["gpu"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="gpu"):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
