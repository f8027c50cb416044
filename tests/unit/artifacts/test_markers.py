from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest

import airflow_agentic
from airflow_agentic.artifacts import Markers, Store, StoreRefusedError
from airflow_agentic.exceptions import ArtifactError, ChecksumError, InputError, StoreError

ROOT = Path(airflow_agentic.__file__).parent.parent
TABLE = pa.table({"row": [0, 1]})


@pytest.fixture
def store() -> Store:
    return Store.open("memory://")


def test_a_marker_holds_what_was_committed(store: Store) -> None:
    clock = datetime(2026, 11, 22, 12, tzinfo=timezone(timedelta(hours=2)))
    marker = Markers(store, clock=lambda: clock).commit("infer", 3, "k", TABLE, {"answered": 2, "errors": 0})
    assert json.loads(store.read("infer/part-3.k.json")) == {
        "schema": 1,
        "node": "infer",
        "shard": 3,
        "key": "k",
        "data": {"name": marker.data.name, "sha256": marker.data.sha256, "rows": 2, "bytes": marker.data.bytes},
        "counts": {"answered": 2, "errors": 0},
        "written_at": "2026-11-22T10:00:00+00:00",
    }


class CrashError(Exception):
    """The process dies here."""


class CrashingStore(Store):
    """Dies between the data file and the marker."""

    def create(self, name: str, data: bytes) -> bool:
        raise CrashError(name)


def test_a_crash_between_data_and_marker_leaves_nothing_visible(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    crashing = CrashingStore(store._objects, store.base, store._prefix)
    with pytest.raises(CrashError, match=r"^n/part-0\.k\.json$"):
        Markers(crashing).commit("n", 0, "k", TABLE, {})
    markers = Markers(store)
    assert (markers.find("n", 0, "k"), markers.keys("n")) == (None, {})
    assert len(store.list("n/data")) == 1
    again = markers.commit("n", 0, "k", TABLE, {})
    assert markers.read(again).equals(TABLE)
    assert len(store.list("n/data")) == 1


def test_absent_is_never_remembered(store: Store) -> None:
    reader, writer = Markers(store), Markers(store)
    assert reader.find("n", 0, "k") is None
    marker = writer.commit("n", 0, "k", TABLE, {})
    assert reader.find("n", 0, "k") == marker


class ForgetfulStore(Store):
    """Ignores If-None-Match, as some S3 look-alikes do."""

    def create(self, name: str, data: bytes) -> bool:
        self.write(name, data)
        return True


def test_a_store_that_ignores_the_condition_is_refused(store: Store) -> None:
    with pytest.raises(StoreRefusedError) as caught:
        Markers(ForgetfulStore(store._objects, store.base, "")).freeze("plan.json", {})
    assert str(caught.value) == (
        "creating memory:///plan.json twice succeeded twice: the store ignores If-None-Match and could lose results; "
        "use a local folder, or a bucket with conditional writes"
    )


class ConflictingStore(Store):
    """Answers as S3 does while another write is under way: not created, not there yet."""

    def create(self, name: str, data: bytes) -> bool:
        return False


def test_a_conflict_that_is_not_decided_yet_can_be_retried(store: Store) -> None:
    markers = Markers(ConflictingStore(store._objects, store.base, ""))
    for call, name in (
        (lambda: markers.commit("n", 0, "k", TABLE, {}), "n/part-0.k.json"),
        (lambda: markers.freeze("plan.json", {}), "plan.json"),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(caught.value) == (
            f"creating memory:///{name} failed: another process writes or deletes it right now; retry"
        )
        assert caught.value.retryable


def test_the_number_of_rows_is_checked(store: Store) -> None:
    markers = Markers(store)
    marker = markers.commit("n", 0, "k", TABLE, {})
    wrong = replace(marker, data=replace(marker.data, rows=3))
    with pytest.raises(ChecksumError) as caught:
        markers.read(wrong)
    assert str(caught.value) == (
        f"memory:///{marker.data.name}: expected 3 rows, found 2; "
        "delete memory:///n/part-0.k.json and clear the Airflow task"
    )


WAY_OUT = "; delete it and clear the Airflow task that wrote it"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", f"is damaged: it is no JSON: Expecting value: line 1 column 1 (char 0){WAY_OUT}"),
        ("[]", f"is damaged: it is no JSON object{WAY_OUT}"),
        (
            '{"schema": 2}',
            "has marker schema 2, but this installation reads 1: "
            "run it with the version of airflow-agentic that wrote it, or start a new run",
        ),
        ('{"schema": 1}', f"is damaged: its fields are wrong: 'data'{WAY_OUT}"),
    ],
)
def test_a_damaged_marker_is_refused(store: Store, data: str, message: str) -> None:
    store.write("n/part-0.k.json", data.encode())
    with pytest.raises(ArtifactError) as caught:
        Markers(store).find("n", 0, "k")
    assert str(caught.value) == f"memory:///n/part-0.k.json {message}"


def test_a_frozen_document_is_laid_out_for_people_and_refused_where_damaged(store: Store) -> None:
    markers = Markers(store)
    markers.freeze("plan.json", {"workflow": "w", "nodes": ["ä"]})
    assert store.read("plan.json") == b'{\n "workflow": "w",\n "nodes": [\n  "\\u00e4"\n ]\n}'
    store.write("plan.json", b"{")
    with pytest.raises(ArtifactError) as caught:
        markers.freeze("plan.json", {})
    assert str(caught.value).startswith("memory:///plan.json is damaged: it is no JSON: ")


def test_a_data_file_that_is_no_parquet_is_named(store: Store) -> None:
    markers = Markers(store)
    marker = markers.commit("n", 0, "k", TABLE, {})
    store.write(marker.data.name, b"PAR1")
    pinned = replace(marker, data=replace(marker.data, sha256=hashlib.sha256(b"PAR1").hexdigest()))
    with pytest.raises(ArtifactError) as caught:
        markers.read(pinned)
    assert str(caught.value) == (
        f"memory:///{marker.data.name} is no Parquet file: Parquet file size is 4 bytes, smaller than the minimum file "
        "footer (8 bytes); delete it and clear what wrote it"
    )


def test_only_what_lies_beside_the_data_is_a_marker(store: Store) -> None:
    """The listing of a node's keys does not walk through its data files."""
    listed: list[bool] = []

    class Listing(Store):
        def list(self, prefix: str = "", *, recursive: bool = True) -> list[str]:
            listed.append(recursive)
            return super().list(prefix, recursive=recursive)

    store.write("n/data/part-1.k.json", b"{}")
    Markers(store).commit("n", 0, "k", TABLE, {})
    assert Markers(Listing(store._objects, store.base, store._prefix)).keys("n") == {0: ["k"]}
    assert listed == [False]


def test_a_marker_copied_to_another_place_is_refused(store: Store) -> None:
    markers = Markers(store)
    markers.commit("n", 0, "k", TABLE, {})
    store.write("n/part-1.k.json", store.read("n/part-0.k.json"))
    with pytest.raises(ArtifactError) as caught:
        markers.find("n", 1, "k")
    assert str(caught.value) == f"memory:///n/part-1.k.json is damaged: it is the marker 'n/part-0.k.json'{WAY_OUT}"


@pytest.mark.parametrize(
    ("node", "shard", "key", "message"),
    [
        (
            "a/b",
            0,
            "k",
            "'a/b' cannot name a node: use letters, digits, '_', '-' and '.', none of the last two first",
        ),
        ("..", 0, "k", "'..' cannot name a node: use letters, digits, '_', '-' and '.', none of the last two first"),
        ("n", -1, "k", "shard -1 cannot have a marker: shards count from 0"),
        ("n", 0, "../k", "'../k' cannot be a marker's key: use a digest"),
    ],
)
def test_refuses_what_would_leave_the_layout(store: Store, node: str, shard: int, key: str, message: str) -> None:
    markers = Markers(store)
    for call in (lambda: markers.find(node, shard, key), lambda: markers.commit(node, shard, key, TABLE, {})):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == message
    assert store.list() == []


def test_refuses_a_document_that_is_no_json(store: Store) -> None:
    with pytest.raises(ValueError, match=r"^Out of range float values are not JSON compliant"):
        Markers(store).freeze("plan.json", {"score": float("nan")})
    with pytest.raises(TypeError, match=r"^Object of type datetime is not JSON serializable$"):
        Markers(store).freeze("plan.json", {"at": datetime.now(UTC)})
    assert store.list() == []


def test_of_many_threads_one_commits(tmp_path: Path) -> None:
    markers = Markers(Store.open(str(tmp_path)))
    barrier = threading.Barrier(8)

    def commit(writer: int) -> list[str]:
        barrier.wait()
        return [markers.commit("n", n, "k", pa.table({"w": [writer]}), {"w": writer}).data.sha256 for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(commit, range(8)))
    assert all(result == results[0] for result in results)
    for shard in range(20):
        marker = markers.find("n", shard, "k")
        assert marker is not None
        assert marker.data.sha256 == results[0][shard]
        assert markers.read(marker).column("w").to_pylist() == [marker.counts["w"]]


WRITER = """
import json, sys, time
import pyarrow as pa
from airflow_agentic.artifacts import Markers, Store
store, writer = Store.open(sys.argv[1]), int(sys.argv[2])
markers = Markers(store)
print("ready", flush=True)
start = float(sys.stdin.readline())
while time.time() < start:
    pass
created = [store.create(f"race/{n}", b"") for n in range(1000)]
won = [markers.commit("n", n, "k", pa.table({"w": [writer]}), {"w": writer}).counts["w"] for n in range(40)]
print(json.dumps([created, won]), flush=True)
"""


def test_of_many_processes_one_commits_and_all_agree(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(writer)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for writer in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    start = time.time() + 0.05  # so that all start at one moment
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{start}\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    markers = Markers(Store.open(str(tmp_path)))
    stored = [json.loads((tmp_path / f"n/part-{shard}.k.json").read_bytes())["counts"]["w"] for shard in range(40)]
    assert [won for _, won in answers] == [stored, stored, stored]
    assert all(sum(writers) == 1 for writers in zip(*(created for created, _ in answers), strict=True))
    assert markers.keys("n") == {shard: ["k"] for shard in range(40)}
    assert not [path for path in tmp_path.rglob("*") if "#" in path.name]
