"""Content of records' URIs: all of it, or a refusal, whatever size the store states."""

from __future__ import annotations

import io

import fsspec
import pytest

from airflow_agentic import foreign
from airflow_agentic.exceptions import RecordError

LIMIT = 10


class Stated(io.BytesIO):
    """A file whose store states a size of its own."""

    size: int | None = None


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> Stated:
    file = Stated()
    monkeypatch.setattr(foreign, "MAX_BYTES", LIMIT)
    monkeypatch.setattr(fsspec, "open", lambda uri, mode: file)
    return file


@pytest.mark.parametrize("size", [None, 0, 1, 7, LIMIT])
@pytest.mark.parametrize("length", [0, 3, 7, LIMIT])
def test_all_is_read_whatever_size_is_stated(stated: Stated, size: int | None, length: int) -> None:
    content = bytes(range(length))
    stated.write(content)
    stated.seek(0)
    stated.size = size
    assert foreign.read("memory://file") == content


@pytest.mark.parametrize("size", [None, 0, 1, LIMIT, LIMIT + 1])
def test_more_than_the_limit_is_refused_whatever_size_is_stated(stated: Stated, size: int | None) -> None:
    stated.write(bytes(LIMIT + 1))
    stated.seek(0)
    stated.size = size
    with pytest.raises(RecordError, match="more than 10 bytes"):
        foreign.read("memory://file")
