from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import LocalStore, MemoryStore

import airflow_agentic
from airflow_agentic.artifacts import NotFoundError, Store, StoreRefusedError
from airflow_agentic.artifacts.store import RETRY, parse_table
from airflow_agentic.exceptions import ArtifactError, InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(airflow_agentic.__file__).parent.parent


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("/srv/agentic/", "file:///srv/agentic"),
        ("/X/X", "file:///X/X"),
        ("s3://bucket/X/X", "s3://bucket/X/X"),
        ("/srv/a b/../50%", "file:///srv/50%25"),
        ("file:///srv/50%25", "file:///srv/50%25"),
        ("file://localhost/srv", "file:///srv"),
        ("memory://", "memory://"),
        ("memory://prod", "memory:///prod"),
        ("memory:///prod", "memory:///prod"),
        ("S3://bucket", "s3://bucket"),
        ("s3://bucket/a%3Ab/c/", "s3://bucket/a%3Ab/c"),
        ("gs://bucket/prod", "gs://bucket/prod"),
    ],
)
def test_a_base_is_normalised(given: str, base: str) -> None:
    store = Store.open(given)
    assert (store.base, Store.open(store.base).base) == (base, base)
    assert repr(store) == f"Store({base!r})"
    assert store.uri("n/x.json") == (f"{base}/n/x.json")


def test_azure_needs_its_account() -> None:
    store = Store.open("az://container/prod", options={"account_name": "someone"})
    assert store.base == "az://container/prod"


def test_a_relative_path_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store.open("out").write("x", b"1")
    assert (tmp_path / "out" / "x").read_bytes() == b"1"


def test_opening_and_looking_create_nothing(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "new"))
    assert (store.list(), store.exists("x")) == ([], False)
    assert not (tmp_path / "new").exists()


KNOWN = "use a path, file://, memory://, s3://, gs://, az://"


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("", "the base URI is '': name a folder, or s3://bucket/prefix"),
        ("ftp://host/x", f"the base URI starts with 'ftp://', which is no known store: {KNOWN}"),
        ("s3:/bucket", f"the base URI starts with 's3:', which is no known store: {KNOWN}"),
        ("file://folder", "'file://folder' names no local folder: write file:///folder, with three slashes"),
        ("s3://", "the base URI names no bucket: write s3://bucket/prefix, and credentials as options"),
        ("s3://key:secret@b/x", "the base URI names no bucket: write s3://bucket/prefix, and credentials as options"),
        ("gs://b/a/../b", "'a/../b' cannot name an object: use relative parts without '..', '#' or a backslash"),
    ],
)
def test_refuses_a_base_that_names_no_place(base: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        Store.open(base)
    assert str(caught.value) == message


def test_refuses_options_it_would_ignore() -> None:
    with pytest.raises(InputError) as caught:
        Store.open("file:///srv", options={"region": "eu", "access_key_id": "AKIA"})
    assert str(caught.value) == (
        "'file:///srv' takes no options, but ['access_key_id', 'region'] are set: "
        "remove them, or use s3://, gs:// or az://"
    )
    with pytest.raises(InputError) as caught:
        Store.open("s3://bucket", options={"regoin": "eu"})
    assert str(caught.value) == (
        "s3://bucket cannot be opened: Configuration key: 'regoin' is not valid for store 'S3'; "
        "check the store's options"
    )


def test_memory_takes_no_options_and_keeps_to_its_prefix() -> None:
    with pytest.raises(InputError, match=r"^'memory://x' takes no options, but \['region'\] are set"):
        Store.open("memory://x", options={"region": "eu"})
    store = Store.open("memory:///a/b/")
    store.write("c", b"")
    assert (store._prefix, store.list(), store.uri("c")) == ("a/b", ["c"], "memory:///a/b/c")


@pytest.mark.parametrize(
    ("base", "options"),
    [
        ("s3://bucket/p", {"region": "eu", "endpoint": "ENDPOINT"}),
        ("gs://bucket/p", {"base_url": "ENDPOINT"}),
        ("az://container/p", {"account_name": "me", "endpoint": "ENDPOINT"}),
    ],
)
def test_a_remote_store_is_opened_as_its_options_say(base: str, options: dict[str, str]) -> None:
    for endpoint, client in (("http://store", {"allow_http": "true"}), ("https://store", None)):
        given = {name: endpoint if value == "ENDPOINT" else value for name, value in options.items()}
        store = Store.open(base, options=given)
        objects = store._objects
        assert not isinstance(objects, LocalStore | MemoryStore)
        assert set(given.values()) <= {str(value) for value in objects.config.values()}
        assert objects.client_options == (client if "endpoint" in given else None)
        assert RETRY.items() <= dict(objects.retry_config or {}).items()
        assert store._prefix == "p"


def test_names_are_shown_as_uris_and_parts_may_be_any_text(tmp_path: Path) -> None:
    local, memory = Store.open(str(tmp_path)), Store.open("memory://")
    assert local.uri("a b/50%.json") == f"file://{tmp_path}/a%20b/50%25.json"
    assert memory.uri("a b/50%.json") == "memory:///a b/50%.json"
    assert memory.child("a/b").base == "memory:///a%2Fb"


def test_folders_are_the_parts_they_were_made_of() -> None:
    store = Store.open("memory://")
    for part in ("b", "a", "X%2F", "é ü"):
        store.child(part).write("x", b"")
    assert store.folders() == ["X%2F", "a", "b", "é ü"]


def test_a_folder_may_be_called_as_the_rest_of_a_path(tmp_path: Path) -> None:
    for store in (Store.open(str(tmp_path / "X")), Store.open("memory://X")):
        store.child("X").write("a", b"1")
        assert store.folders() == ["X"]
        assert store.list() == ["X/a"]
        assert Store.open(store.base).base == store.base
    assert (tmp_path / "X" / "X" / "a").exists()


def test_tables_are_compressed(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    written = store.write_table(pa.table({"text": ["x" * 100] * 1000}), "data")
    file = pq.ParquetFile(tmp_path / written.name)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_table_that_is_no_parquet_says_why() -> None:
    with pytest.raises(ArtifactError) as caught:
        parse_table(b"no", "memory:///x")
    assert str(caught.value) == (
        "memory:///x is no Parquet file: Parquet file size is 2 bytes, smaller than the minimum file footer (8 bytes); "
        "delete it and clear what wrote it"
    )


def test_a_failure_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open("memory://")

    class Silent(MemoryStore):
        def delete(self, *_: object) -> None:
            raise OSError

        def put(self, *_: object, **__: object) -> None:
            raise OSError("disk on fire.:\n\nDebug source:\n…")

        def list_with_delimiter(self, *_: object, **__: object) -> None:
            raise OSError("X")

    monkeypatch.setattr(store, "_objects", Silent())
    for call, said in (
        (lambda: store.delete("x"), "deleting memory:///x failed: OSError"),
        (lambda: store.write("x", b""), "writing memory:///x failed: disk on fire"),
        (store.folders, "listing memory:// failed: X"),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(caught.value) == f"{said}; check that the store is reachable, writable and not full, then retry"


def test_small_objects_are_created_in_one_request_and_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A multipart upload has no condition, so two writers could both win."""
    store, asked = Store.open("memory://"), []

    class Recording(MemoryStore):
        def put(self, path: str, data: bytes, **how: object) -> None:
            asked.append((path, how))

    monkeypatch.setattr(store, "_objects", Recording())
    store.create("a", b"")
    store.write("b", b"")
    assert asked == [("a", {"mode": "create", "use_multipart": False}), ("b", {"mode": "overwrite"})]


def test_a_folder_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store.open(str(tmp_path))
    with pytest.raises(StoreError) as caught:
        store.create("file/x", b"")
    assert str(caught.value) == (
        f"creating {store.uri('file/x')} failed: Generic LocalFileSystem error: Unable to open file "
        f"{tmp_path}/file/x#1: Not a directory (os error 20); check that the store is reachable, writable and not full "
        "and has hard links (a folder) or conditional writes (a bucket), then retry"
    )
    assert caught.value.retryable


def test_a_staged_file_of_a_crash_is_no_object(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    (tmp_path / "plan.json#1").write_bytes(b'{"half')
    assert (store.list(), store.exists("plan.json")) == ([], False)
    assert store.create("plan.json", b"{}")
    assert store.read("plan.json") == b"{}"


class Status(BaseHTTPRequestHandler):
    """Answers every request with the code that is the bucket's name."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(int(self.path.split("/")[1].split("?")[0].removeprefix("code-")))
        self.send_header("Content-Length", "0")
        self.send_header("ETag", '"x"')
        self.end_headers()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815 - the names http.server calls

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Status) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def bucket(endpoint: str, code: int) -> Store:
    options = {"endpoint": endpoint, "region": "r", "access_key_id": "AKIA", "secret_access_key": "SECRET"}
    return Store.open(f"s3://code-{code}/p", options=options)


@pytest.mark.parametrize("code", [401, 403])
def test_bad_credentials_are_not_retried(endpoint: str, code: int) -> None:
    store = bucket(endpoint, code)
    calls = {"reading": store.read, "looking for": store.exists, "creating": lambda name: store.create(name, b"")}
    calls["listing"] = lambda name: store.list(name)
    for action, call in calls.items():
        with pytest.raises(StoreRefusedError) as caught:
            call("x")
        assert str(caught.value).startswith(f"{action} s3://code-{code}/p/x failed: ")
        assert str(caught.value).endswith(
            "; check the store's credentials and that they may read, write and list there"
        )
        assert "SECRET" not in str(caught.value)
        assert not caught.value.retryable


def test_a_store_without_conditional_create_is_refused(endpoint: str) -> None:
    with pytest.raises(StoreRefusedError) as caught:
        bucket(endpoint, 501).create("x", b"")
    assert str(caught.value).endswith("; use a local folder, or a bucket with conditional writes (If-None-Match)")


@pytest.mark.parametrize("code", [409, 412])
def test_s3_says_in_two_ways_that_another_was_first(endpoint: str, code: int) -> None:
    assert not bucket(endpoint, code).create("x", b"")


def test_a_store_that_is_away_can_be_retried() -> None:
    with pytest.raises(StoreError) as caught:
        bucket("http://127.0.0.1:1", 200).read("x")
    assert str(caught.value).startswith("reading s3://code-200/p/x failed: Generic S3 error: ")
    assert str(caught.value).endswith("; check that the store is reachable, writable and not full, then retry")
    assert caught.value.retryable


FORKED = """
import os, sys
from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import StoreError
store = Store.open(sys.argv[1])
store.write("x", b"")
child = os.fork()
if child == 0:
    try:
        store.write("y", b"")
    except StoreError as error:
        print(str(error).replace(str(os.getpid()), "CHILD").replace(str(os.getppid()), "PARENT"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_a_forked_process_is_told_so_rather_than_left_hanging(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == (
        f"writing {Store.open(str(tmp_path)).uri('y')} failed: process CHILD was forked from PARENT after that had "
        "used a store; start the process with 'spawn', or use no store before the fork\n"
    )


@pytest.mark.parametrize("kind", [NotFoundError, StoreRefusedError])
def test_errors_survive_pickling(kind: type[StoreError]) -> None:
    back = pickle.loads(pickle.dumps(kind("why")))
    assert (type(back), str(back), back.retryable) == (kind, "why", False)
