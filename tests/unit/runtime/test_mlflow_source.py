"""What needs no MLflow; the rest is in ``tests/integration/test_mlflow_registry.py``."""

from __future__ import annotations

import errno

import pytest

from airflow_agentic.runtime.sources.mlflow import check_disk

FAILED = "The following failures occurred while downloading one or more artifacts from http://host:\n##### File a #####"


def test_a_full_disk_is_known_by_the_text_that_mlflow_keeps() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        check_disk(f"{FAILED}\n[Errno 28] No space left on device")
    assert caught.value.errno == errno.ENOSPC
    check_disk(f"{FAILED}\n[Errno 104] Connection reset by peer")
