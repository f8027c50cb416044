"""Model files by their digest: into the artifact store, and from there into a container's cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.container import command
from airflow_agentic.container.exits import Exit
from airflow_agentic.container.models import fetch, publish
from airflow_agentic.exceptions import ArtifactError, ChecksumError
from airflow_agentic.runtime.artifacts import CACHE_VARIABLE, cached, resolve


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture(params=["file", "folder"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A model that is a file, and one that is a folder."""
    path = tmp_path / "models" / "net"
    if request.param == "file":
        path.parent.mkdir()
        path.write_bytes(b"weights")
    else:
        (path / "variables").mkdir(parents=True)
        (path / "saved_model.pb").write_bytes(b"graph")
        (path / "variables" / "data").write_bytes(b"weights")
    return path


def test_it_is_where_its_digest_says(store: Store, cache: Path, model: Path) -> None:
    sha256 = tree_digest(model)
    publish(store, model, sha256)
    found = fetch(store.base, sha256, cache)

    assert found == cache / sha256 / "net"
    assert tree_digest(found) == sha256
    assert cached(sha256, cache_dir=cache) == found
    assert resolve("../elsewhere/net", base=cache, sha256=sha256, cache_dir=cache) == found


def test_what_is_there_is_not_copied_again(store: Store, cache: Path, model: Path) -> None:
    sha256 = tree_digest(model)
    publish(store, model, sha256)
    written = [(one.name, one.written_at) for one in store.objects()]
    publish(store, model, sha256)
    assert [(one.name, one.written_at) for one in store.objects()] == written

    first = fetch(store.base, sha256, cache)
    for name in store.list():
        store.delete(name)
    assert fetch(store.base, sha256, cache) == first


def test_a_copy_that_was_cut_off_does_not_count(store: Store, cache: Path, model: Path) -> None:
    sha256 = tree_digest(model)
    publish(store, model, sha256)
    store.delete(f".models/{sha256}/files.json")

    with pytest.raises(ArtifactError) as caught:
        fetch(store.base, sha256, cache)
    assert str(caught.value).startswith(f"the artifact store {store.base} holds no model file of SHA-256 {sha256}: ")
    publish(store, model, sha256)
    assert fetch(store.base, sha256, cache).exists()


def test_other_bytes_are_refused_and_not_kept(store: Store, cache: Path, model: Path) -> None:
    publish(store, model, "0" * 64)

    with pytest.raises(ChecksumError) as caught:
        fetch(store.base, "0" * 64, cache)
    assert str(caught.value).startswith(
        f"the artifact store's copy of 'net' was changed: delete {store.base}/.models/{'0' * 64}/files.json, then run "
        "the Airflow task again, which copies the model there anew. "
    )
    assert cached("0" * 64, cache_dir=cache) is None


def test_a_file_that_the_store_lost_is_said_with_the_next_step(store: Store, cache: Path, model: Path) -> None:
    sha256 = tree_digest(model)
    publish(store, model, sha256)
    for name in store.list():
        if not name.endswith("files.json"):
            store.delete(name)

    with pytest.raises(ArtifactError) as caught:
        fetch(store.base, sha256, cache)
    assert str(caught.value).startswith("the artifact store lost a file of 'net': reading ")
    assert str(caught.value).endswith(
        f"; delete {store.base}/.models/{sha256}/files.json, then run the Airflow task again, which copies the model "
        "there anew"
    )


def test_a_damaged_cache_is_refused(store: Store, cache: Path, model: Path) -> None:
    sha256 = tree_digest(model)
    publish(store, model, sha256)
    found = fetch(store.base, sha256, cache)
    (found / "more" if found.is_dir() else found).write_bytes(b"other")

    with pytest.raises(ChecksumError):
        fetch(store.base, sha256, cache)


@pytest.mark.parametrize(("name", "file"), [("net", "../net"), ("net", "/net"), ("../net", "net")])
def test_a_list_that_climbs_is_refused(store: Store, cache: Path, name: str, file: str) -> None:
    store.write(f".models/{'0' * 64}/files.json", json.dumps({"name": name, "files": [file]}).encode())

    with pytest.raises(ArtifactError, match="climbs out of its folder"):
        fetch(store.base, "0" * 64, cache)


def test_the_command_fetches_all_that_it_is_told(
    store: Store, cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    sha256 = tree_digest(model)
    assert command.run(["fetch", f"--store={store.base}", f"--sha256={sha256}"]) == Exit.BAD_CONFIGURATION
    publish(store, model, sha256)
    assert command.run(["fetch", f"--store={store.base}", f"--sha256={sha256}"]) == Exit.DONE
    assert cached(sha256) == cache / sha256 / "net"
