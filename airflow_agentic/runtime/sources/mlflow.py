"""MLflow's model registry, by ``mlflow-skinny``; it reads its settings and credentials from the environment."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import ArtifactError, MissingExtraError, StoreError
from airflow_agentic.runtime.sources import FULL, Found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_agentic.spec.kept import RegistryUri

_REGISTRY: Final = "MLFLOW_REGISTRY_URI"
_TRACKING: Final = "MLFLOW_TRACKING_URI"
_REFUSED: Final = frozenset({401, 403})
_ABSENT: Final = frozenset({400, 404})
_SHOWN: Final = 20
"""How many names of files a message lists."""
_ADDED: Final = "registered_model_meta"
"""A file that the client adds to a model's folder: with it the same files had another digest under each version."""


def find(uri: RegistryUri) -> Found:
    """The version that ``uri`` means, and what tells it from one of the same number in a registry begun anew."""
    mlflow = _client(uri)
    with _translated(uri):
        client = mlflow.MlflowClient()
        if uri.version is None:
            version = client.get_model_version_by_alias(uri.model, uri.alias)
        else:
            version = client.get_model_version(uri.model, uri.version)
    exact = replace(uri, version=str(version.version), alias=None)
    return Found(uri=str(exact), state=[mlflow.get_registry_uri(), version.creation_timestamp, version.source])


def get(uri: RegistryUri, target: Path) -> None:
    """Copy the file or folder to ``target``."""
    mlflow = _client(uri)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as temporary:
        folder = str(Path(temporary) / "files")
        with _translated(uri):
            _check_listed(mlflow, uri)
            found = Path(mlflow.artifacts.download_artifacts(artifact_uri=str(uri), dst_path=folder))
        if not uri.path:
            (found / _ADDED).unlink(missing_ok=True)
        found.rename(target)


def _client(uri: RegistryUri) -> Any:
    try:
        import mlflow
        import mlflow.artifacts
    except ImportError:
        raise MissingExtraError("mlflow", "mlflow") from None
    registry = os.environ.get(_REGISTRY)
    if registry and not os.environ.get(_TRACKING):
        mlflow.set_tracking_uri(registry)  # which also serves the files
    elif not os.environ.get(_TRACKING):
        raise ArtifactError(f"{str(uri)!r} cannot be read: no registry is known; set {_TRACKING} or {_REGISTRY}")
    return mlflow


def _check_listed(mlflow: Any, uri: RegistryUri) -> None:
    """Some stores answer a file that is not there as if they had failed."""
    if not uri.path:
        return
    folder = uri.path.rpartition("/")[0]
    names = sorted(entry.path for entry in mlflow.artifacts.list_artifacts(str(replace(uri, path=folder))))
    if uri.path not in names:
        more = ", …" if len(names) > _SHOWN else ""
        listed = f"it has {', '.join(names[:_SHOWN])}{more}" if names else "nothing is there"
        raise ArtifactError(f"{str(uri)!r} does not exist: in {folder or 'the model'!r} {listed}")


@contextmanager
def _translated(uri: RegistryUri) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        failed: Any = error
        status = failed.get_http_status_code()
        if status in _REFUSED:
            raise ArtifactError(
                f"{str(uri)!r} is refused by the registry: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
                f"or MLFLOW_TRACKING_TOKEN, of an account that may read it ({error.message})"
            ) from error
        if status in _ABSENT:
            raise ArtifactError(
                f"{str(uri)!r} does not exist in the registry: register it, or correct the card ({error.message})"
            ) from error
        check_disk(error.message)
        raise StoreError(
            f"{str(uri)!r} cannot be read: look whether the registry that {_REGISTRY} or {_TRACKING} names answers "
            f"here ({error.message})"
        ) from error


def check_disk(message: str) -> None:
    """Of a download's errors MLflow keeps the text.

    :raises OSError: the disk was full.
    """
    for number in FULL:
        if f"[Errno {number}]" in message:
            raise OSError(number, os.strerror(number))
