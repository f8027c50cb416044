"""One behaviour suite for every artifact store: local folder, memory, S3 (moto server)."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from stored import s3_store

from airflow_agentic import tables
from airflow_agentic.artifacts import Markers, NotFoundError, Store
from airflow_agentic.exceptions import ArtifactError, ChecksumError, InputError
from scripts.s3 import s3_options

if TYPE_CHECKING:
    from pathlib import Path

RUN_ID = "manual__2026-11-22T10:00:00+00:00"


def prediction(*labels: str) -> pa.Table:
    rows = [
        {"row": row, "record_id": f"r{row}", "model": "m", "label": label, "scores": [{"label": label, "p": 0.5}]}
        for row, label in enumerate(labels)
    ]
    return tables.table(rows, tables.PREDICTION)


class StoreContract:
    """What every store does. Subclasses give the fixture ``store``: an empty one."""

    def test_reads_what_was_written_last(self, store: Store) -> None:
        store.write("progress.json", b"1")
        store.write("progress.json", b"2")
        assert store.read("progress.json") == b"2"

    def test_keeps_an_empty_object_and_a_large_one(self, store: Store) -> None:
        large = bytes(range(256)) * 40_000  # more than one part of a multipart upload
        store.write("empty", b"")
        store.write("large", large)
        store.create("created", large)
        assert (store.read("empty"), store.read("large"), store.read("created")) == (b"", large, large)

    def test_columns_are_read_without_the_others(self, store: Store) -> None:
        inputs = [bytes([row]) * 5000 for row in range(200)]
        table = pa.table({"record_id": [f"r{row}" for row in range(200)], "input": inputs})
        file = store.write_table(table, "data")
        store.write("no.parquet", b"x" * 100)
        assert store.read_columns(file.name, ["record_id"]) == table.select(["record_id"])
        with pytest.raises(NotFoundError):
            store.read_columns("absent.parquet", ["record_id"])
        with pytest.raises(ArtifactError, match=r"no\.parquet is no Parquet file: "):
            store.read_columns("no.parquet", ["record_id"])

    def test_create_keeps_the_first(self, store: Store) -> None:
        assert [store.create("a/plan.json", b"first"), store.create("a/plan.json", b"second")] == [True, False]
        assert store.read("a/plan.json") == b"first"

    def test_one_of_many_creators_wins(self, store: Store) -> None:
        barrier = threading.Barrier(8)

        def create(writer: int) -> bool:
            barrier.wait()
            return store.create("contested", str(writer).encode())

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert won.count(True) == 1
        assert store.read("contested") == str(won.index(True)).encode()

    def test_names_what_is_missing(self, store: Store) -> None:
        with pytest.raises(NotFoundError) as caught:
            store.read("no/such")
        assert str(caught.value).startswith(f"reading {store.uri('no/such')} failed: ")
        assert str(caught.value).endswith("; check the URI, and that its bucket exists")
        assert isinstance(caught.value, FileNotFoundError)
        assert not caught.value.retryable

    def test_exists_and_delete(self, store: Store) -> None:
        store.write("a/b", b"")
        assert (store.exists("a/b"), store.exists("a"), store.exists("c")) == (True, False, False)
        store.delete("a/b")
        store.delete("a/b")
        assert not store.exists("a/b")

    def test_lists_names_below_its_base_only(self, store: Store) -> None:
        assert store.list() == []
        for name in ("plan.json", "node/part-0.k.json", "node/data/x.parquet", "node-2/part-0.k.json"):
            store.write(name, b"")
        assert store.list() == ["node-2/part-0.k.json", "node/data/x.parquet", "node/part-0.k.json", "plan.json"]
        assert store.list("node") == ["node/data/x.parquet", "node/part-0.k.json"]
        assert store.list("node", recursive=False) == ["node/part-0.k.json"]
        assert store.list(recursive=False) == ["plan.json"]
        assert store.list("absent") == []
        assert store.child("node").list() == ["data/x.parquet", "part-0.k.json"]

    def test_lists_sizes_and_times(self, store: Store) -> None:
        store.write("a/b", b"12345")
        (found,) = store.objects()
        assert (found.name, found.bytes) == ("a/b", 5)
        assert abs((datetime.now(UTC) - found.written_at).total_seconds()) < 3600

    def test_lists_the_folders_below_it_as_they_were_named(self, store: Store) -> None:
        assert store.folders() == []
        for parts in (("prod", "b", RUN_ID), ("prod", "a b"), ("test",)):
            store.child(*parts).write("plan.json", b"{}")
        store.write("connection-test", b"")
        assert store.folders() == ["prod", "test"]
        assert store.child("prod").folders() == ["a b", "b"]
        assert store.child("prod", "b").folders() == [RUN_ID]

    def test_a_child_is_a_quoted_folder(self, store: Store) -> None:
        run = store.child("prod", "reviews.eu", RUN_ID)
        run.write("plan.json", b"{}")
        folder = "prod/reviews.eu/manual__2026-11-22T10%3A00%3A00%2B00%3A00"
        assert store.list() == [f"{folder}/plan.json"]
        assert run.base == store.uri(folder)
        assert run.list() == ["plan.json"]
        assert store.child().base == store.base

    @pytest.mark.parametrize("part", ["", ".", "..", "../x", "a/../b", "/etc"])
    def test_a_child_never_climbs(self, store: Store, part: str) -> None:
        with pytest.raises(InputError) as caught:
            store.child("prod", part)
        message = f"{part!r} cannot name a folder of {store.base}: use a relative name without '..'"
        assert str(caught.value) == message

    @pytest.mark.parametrize("name", ["", "/etc/passwd", "a//b", "a/", "../x", "a/./b", "x#1", "a\\b"])
    def test_refuses_names_that_not_every_store_has(self, store: Store, name: str) -> None:
        for call in (store.read, store.exists, store.delete, store.uri, lambda name: store.write(name, b"")):
            with pytest.raises(InputError) as caught:
                call(name)
            message = f"{name!r} cannot name an object: use relative parts without '..', '#' or a backslash"
            assert str(caught.value) == message

    def test_a_table_comes_back_as_it_was(self, store: Store) -> None:
        table = prediction("good", "bad")
        file = store.write_table(table, "infer/data")
        assert file.name == f"infer/data/{file.sha256}.parquet"
        assert (file.rows, file.bytes) == (2, len(store.read(file.name)))
        back = store.read_table(file.name)
        assert back.equals(table)
        assert (back.schema, back.schema.metadata) == (tables.PREDICTION, tables.PREDICTION.metadata)
        assert pa.concat_tables([back, table]).num_rows == 4

    def test_the_same_table_twice_is_one_file(self, store: Store) -> None:
        assert store.write_table(prediction("a"), "d") == store.write_table(prediction("a"), "d")
        assert len(store.list()) == 1

    def test_an_empty_table_keeps_its_schema(self, store: Store) -> None:
        file = store.write_table(tables.ANSWER.empty_table(), "d")
        schema = store.read_table(file.name).schema
        assert (schema, schema.metadata) == (tables.ANSWER, tables.ANSWER.metadata)

    def test_says_what_is_no_parquet(self, store: Store) -> None:
        store.write("d/x.parquet", b"nonsense")
        with pytest.raises(ArtifactError) as caught:
            store.read_table("d/x.parquet")
        assert str(caught.value).startswith(f"{store.uri('d/x.parquet')} is no Parquet file: ")
        assert str(caught.value).endswith("; delete it and clear what wrote it")

    def test_a_marker_commits_a_shard(self, store: Store) -> None:
        markers = Markers(store, clock=lambda: datetime(2026, 11, 22, 10, tzinfo=UTC))
        assert markers.find("infer.lite-2", 3, "k1") is None
        marker = markers.commit("infer.lite-2", 3, "k1", prediction("a", "b"), {"answered": 2})
        assert marker.written_at == "2026-11-22T10:00:00+00:00"
        assert store.list() == [marker.data.name, "infer.lite-2/part-3.k1.json"]
        assert Markers(store).find("infer.lite-2", 3, "k1") == marker
        assert Markers(store).read(marker).equals(prediction("a", "b"))

    def test_the_first_marker_wins(self, store: Store) -> None:
        markers = Markers(store)
        first = markers.commit("n", 0, "k", prediction("first"), {"answered": 1})
        late = markers.commit("n", 0, "k", prediction("late", "late"), {"answered": 2})
        assert late == first == markers.find("n", 0, "k")
        assert markers.read(late).equals(prediction("first"))

    def test_keys_are_those_of_one_node(self, store: Store) -> None:
        markers = Markers(store)
        for node, shard, key in (("n", 10, "b"), ("n", 10, "a"), ("n", 2, "a"), ("n2", 0, "a")):
            markers.commit(node, shard, key, prediction("x"), {})
        store.write("n/progress.json", b"{}")
        assert markers.keys("n") == {2: ["a"], 10: ["a", "b"]}
        assert markers.keys("absent") == {}

    def test_changed_data_is_found_out(self, store: Store) -> None:
        markers = Markers(store)
        marker = markers.commit("n", 0, "k", prediction("x"), {})
        store.write(marker.data.name, b"tampered")
        with pytest.raises(ChecksumError) as caught:
            markers.read(marker)
        assert str(caught.value) == (
            f"{store.uri(marker.data.name)}: expected SHA-256 {marker.data.sha256}, "
            f"found {hashlib.sha256(b'tampered').hexdigest()}; "
            f"delete {store.uri('n/part-0.k.json')} and clear the Airflow task"
        )

    def test_a_plan_freezes_once(self, store: Store) -> None:
        markers = Markers(store)
        assert markers.freeze("plan.json", {"nodes": ["a"]}) == {"nodes": ["a"]}
        assert markers.freeze("plan.json", {"nodes": ["b"]}) == {"nodes": ["a"]}
        assert store.list() == ["plan.json"]


class TestLocalFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store.open(str(tmp_path / "artifacts é 100%"))


class TestFileURI(StoreContract):
    """A folder reached over a link, by the URI another store gave."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        return Store.open(Store.open(str(tmp_path / "link" / "a b")).base + "/")


class TestMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Store.open("memory://")


class TestMemoryWithPrefix(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return Store.open("memory://prod/agentic")


@pytest.mark.s3
class TestS3(StoreContract):
    @pytest.fixture
    def store(self, s3_endpoint: str) -> Store:
        return s3_store(s3_endpoint)

    def test_a_missing_bucket_is_named(self, store: Store, s3_endpoint: str) -> None:
        other = Store.open("s3://no-such-bucket/base", options=s3_options(s3_endpoint))
        with pytest.raises(NotFoundError, match=r"^writing s3://no-such-bucket/base/x failed: .*its bucket exists$"):
            other.write("x", b"")
