"""What Airflow shows and finds of this provider."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider info, as Airflow's entry point ``apache_airflow_provider`` expects it."""
    from airflow_agentic import __version__

    return {
        "package-name": "airflow-agentic",
        "name": "Agentic inference",
        "description": "Multi-model inference: each record goes to the right model, answers are combined.",
        "versions": [__version__],
        "integrations": [{"integration-name": "Agentic inference", "external-doc-url": "", "tags": ["software"]}],
        "operators": [
            {
                "integration-name": "Agentic inference",
                "python-modules": [f"airflow_agentic.operators.{name}" for name in _OPERATORS],
            }
        ],
        "hooks": [
            {
                "integration-name": "Agentic inference",
                "python-modules": [f"airflow_agentic.hooks.{name}" for name in ("store", "service")],
            }
        ],
        "sensors": [
            {"integration-name": "Agentic inference", "python-modules": ["airflow_agentic.operators.service_sensor"]}
        ],
        "triggers": [
            {
                "integration-name": "Agentic inference",
                "python-modules": [f"airflow_agentic.triggers.{name}" for name in ("service", "gateway")],
            }
        ],
        "connection-types": [_STORE, _SERVICE],
        "task-decorators": [
            {"name": "agentic_model", "class-name": "airflow_agentic.operators.decorators.agentic_model_task"}
        ],
        "config": {"agentic": {"description": "Multi-model inference.", "options": _OPTIONS}},
        "cli": ["airflow_agentic.cli.airflow.commands"],
    }


_OPERATORS = (
    "preprocess", "route", "infer", "kubernetes", "warm", "service", "gate", "aggregate", "publish", "workflow",
    "model", "prune",
)  # fmt: skip

_SWITCH: dict[str, Any] = {"type": ["string", "null"], "enum": ["true", "false", None]}

_TEXT: dict[str, Any] = {"type": ["string", "null"]}

_SERVICE: dict[str, Any] = {
    "connection-type": "agentic_service",
    "hook-class-name": "airflow_agentic.hooks.service.InferenceServiceHook",
    "hook-name": "Inference service (Open Inference Protocol)",
    "ui-field-behaviour": {
        "hidden-fields": ["login"],
        "relabeling": {"host": "Host or base URL", "schema": "http or https", "password": "Bearer token"},
        "placeholders": {"host": "https://models.example.org", "schema": "http"},
    },
    "conn-fields": {
        "urls": {
            "label": "Base URLs",
            "description": "In place of the host: several servers of the same models, by comma",
            "schema": _TEXT,
        },
        "ca_file": {"label": "CA file", "description": "An absolute path, where tasks run", "schema": _TEXT},
        "concurrency": {"label": "Requests at once to one server", "schema": {"type": ["integer", "null"]}},
        "timeout": {"label": "Time-out of a request", "description": "For example 60s", "schema": _TEXT},
        "connect_timeout": {"label": "Time-out of a connection", "description": "For example 5s", "schema": _TEXT},
        "max_response": {"label": "Largest response", "description": "For example 64Mi", "schema": _TEXT},
    },
}

_STORE: dict[str, Any] = {
    "connection-type": "agentic_store",
    "hook-class-name": "airflow_agentic.hooks.store.ArtifactStoreHook",
    "hook-name": "Agentic artifact store",
    "ui-field-behaviour": {
        "hidden-fields": ["host", "port"],
        "relabeling": {"login": "Access key id", "password": "Secret access key"},
    },
    "conn-fields": {
        "uri": {
            "label": "Base URI",
            "description": "Where artifacts lie: s3://bucket/prefix, gs://…, az://… or file:///folder",
            "schema": {"type": ["string", "null"]},
        },
        "region": {"label": "Region", "schema": {"type": ["string", "null"]}},
        "endpoint": {
            "label": "Endpoint",
            "description": "Of an S3-compatible server",
            "schema": {"type": ["string", "null"], "format": "uri"},
        },
        "allow_http": {"label": "Allow plain HTTP", "schema": _SWITCH},
        "virtual_hosted_style_request": {
            "label": "Bucket in the host name",
            "description": "bucket.endpoint instead of endpoint/bucket",
            "schema": _SWITCH,
        },
        "skip_signature": {"label": "Anonymous", "description": "Send unsigned requests", "schema": _SWITCH},
    },
}

_OPTIONS: dict[str, Any] = {
    "artifacts": {
        "description": "Base URI of the artifact store: shards, predictions and answers. All workers must reach it.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://bucket/airflow-agentic",
        "default": "file:///tmp/airflow-agentic",
    },
    "artifacts_conn_id": {
        "description": "Connection of type agentic_store with the store's credentials.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "agentic_store_default",
        "default": "",
    },
    "service_conn_id": {
        "description": "Connection of type agentic_service, for services that neither card nor workflow locates.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "agentic_service_default",
        "default": "",
    },
    "deployment": {
        "description": "First folder below the base, so that several Airflow deployments can share a store.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "production",
        "default": "default",
    },
    "retention": {
        "description": "How long a run's artifacts are kept after its last write, where its workflow does not say; "
        "empty: for ever. The maintenance Dag deletes them.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "90d",
        "default": "",
    },
    "allowed_handlers": {
        "description": "Packages, modules or package.module:Class, by comma, that cards and workflows may import.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "my_company.models",
        "default": "",
    },
    "allowed_uris": {
        "description": "URI prefixes, separated by commas, that records may name beside the input's own folder.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "s3://bucket/inbox/",
        "default": "",
    },
    "gateway_conn_id": {
        "description": "Connection with the gateway that the API server hands /agentic/predict on to: its URL as host, "
        "the token of a client with acts_for_users as password. Empty: off.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "agentic_gateway",
        "default": "",
    },
    "plan_cache": {
        "description": (
            "Folder of compiled plans, so that Dag files are not compiled at every parse; private to its user. "
            "Empty: plans in $AIRFLOW_AGENTIC_CACHE, else ~/.cache/airflow-agentic. off: none."
        ),
        "version_added": "0.1.0",
        "type": "string",
        "example": "off",
        "default": "",
    },
}
