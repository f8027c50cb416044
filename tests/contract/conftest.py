"""One S3 server for the whole session."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from services import require

from scripts.s3 import moto_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    require(find_spec("moto"), "needs an S3 server: pip install 'moto[server]'")
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def triton_before_tensorflow() -> None:
    """triton, which torch brings, crashes the process if it is loaded after TensorFlow: each has an LLVM of its own."""
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401
