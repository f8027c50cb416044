from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
import pytest

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import ArtifactError, ChecksumError, StoreError
from airflow_agentic.runtime.artifacts import CACHE_VARIABLE, default_cache, file_name, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    (tmp_path / "beside.bin").write_bytes(CONTENT)
    (folder / "model.bin").write_bytes(CONTENT)
    (folder / "a b.bin").write_bytes(CONTENT)
    (folder / "saved").mkdir()
    (folder / "saved" / "graph").write_bytes(b"graph")
    return folder


@pytest.fixture
def remote() -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    store.pipe({"/bucket/model.bin": CONTENT, "/bucket/saved/graph": b"graph", "/bucket/saved/deep/part": b"part"})
    yield store
    store.rm("/bucket", recursive=True)


def test_local_paths(base: Path) -> None:
    for uri in ("model.bin", "../beside.bin", str(base / "model.bin"), f"file://{base}/model.bin"):
        assert resolve(uri, base=base).read_bytes() == CONTENT
    assert resolve(f"file://{base}/a%20b.bin", base=base) == base / "a b.bin"
    assert resolve("saved", base=base, sha256=tree_digest(base / "saved")) == base / "saved"


def test_nothing_there(base: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("gone.bin", base=base)
    assert str(caught.value) == (
        f"'gone.bin' does not exist: there is no '{base / 'gone.bin'}'; relative paths start at '{base}'"
    )
    with pytest.raises(ArtifactError) as caught:
        resolve("/no/such/file", base=base)
    assert str(caught.value) == "'/no/such/file' does not exist: there is no '/no/such/file'"


@pytest.mark.parametrize("uri", ["model.bin", "saved", "memory://bucket/model.bin"])
def test_another_content(base: Path, tmp_path: Path, remote: object, uri: str) -> None:
    with pytest.raises(ChecksumError) as caught:
        resolve(uri, base=base, sha256="0" * 64, cache_dir=tmp_path / "cache")
    found = tree_digest(base / "saved") if uri == "saved" else SHA
    assert str(caught.value) == (
        f"{uri!r} is not the pinned artifact: expected SHA-256 {'0' * 64}, found {found}; "
        "fix the file or the card's sha256. A run pins what it finds when it starts: "
        "clear the whole run to use a file that was replaced since"
    )
    assert not list(tmp_path.glob("cache/*"))


def test_remote_files_are_cached(base: Path, tmp_path: Path, remote: fsspec.AbstractFileSystem) -> None:
    cache = tmp_path / "cache"
    first = resolve("memory://bucket/model.bin", base=base, cache_dir=cache)
    assert first.name == "model.bin"
    assert first.read_bytes() == CONTENT
    assert resolve("memory://bucket/model.bin", base=base, cache_dir=cache) == first
    remote.pipe("/bucket/model.bin", b"other weights")
    second = resolve("memory://bucket/model.bin", base=base, cache_dir=cache)
    assert second.read_bytes() == b"other weights"
    assert first.read_bytes() == CONTENT
    assert sorted(path.name for path in cache.iterdir()) == sorted([first.parent.name, second.parent.name])


def test_a_pinned_file_is_cached_by_its_digest(base: Path, tmp_path: Path, remote: fsspec.AbstractFileSystem) -> None:
    cache = tmp_path / "cache"
    found = resolve("memory://bucket/model.bin", base=base, sha256=SHA, cache_dir=cache)
    assert found == cache / SHA / "model.bin"
    remote.rm("/bucket/model.bin")  # and needs its store no more
    assert resolve("memory://bucket/model.bin", base=base, sha256=SHA, cache_dir=cache) == found


def test_remote_folders(base: Path, tmp_path: Path, remote: fsspec.AbstractFileSystem) -> None:
    found = resolve("memory://bucket/saved", base=base, cache_dir=tmp_path / "cache")
    assert {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()} == {
        "graph": b"graph",
        "deep/part": b"part",
    }
    pinned = tree_digest(found)
    again = resolve("memory://bucket/saved/", base=base, sha256=pinned, cache_dir=tmp_path / "cache")
    assert tree_digest(again) == pinned


def test_nothing_at_the_remote(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("memory://bucket/gone", base=base, cache_dir=tmp_path)
    assert str(caught.value) == "'memory://bucket/gone' does not exist"


def test_a_store_that_fails(base: Path, tmp_path: Path, remote: object) -> None:
    (tmp_path / "cache").write_text("a file where the cache should be")
    with pytest.raises(StoreError) as caught:
        resolve("memory://bucket/model.bin", base=base, cache_dir=tmp_path / "cache")
    assert str(caught.value).startswith("'memory://bucket/model.bin' cannot be read: ")
    assert caught.value.retryable


def test_an_unknown_store(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("carrier-pigeon://coop/model", base=base, cache_dir=tmp_path)
    assert str(caught.value) == (
        "'carrier-pigeon://coop/model' cannot be understood: Protocol not known: carrier-pigeon"
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution ``tiny-weights`` with the package ``tiny_weights``, which must not be imported."""
    site = tmp_path / "site"
    package = site / "tiny_weights"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "model.bin").write_bytes(CONTENT)
    info = site / "tiny_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("tiny_weights/__init__.py,,\ntiny_weights/model.bin,,\n")
    monkeypatch.syspath_prepend(site)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("uri", ["package://tiny-weights/tiny_weights/model.bin", "package://tiny_weights/model.bin"])
def test_files_of_packages(base: Path, uri: str) -> None:
    assert resolve(uri, base=base, sha256=SHA).read_bytes() == CONTENT
    assert "tiny_weights" not in sys.modules


@pytest.mark.usefixtures("installed")
def test_a_file_that_a_package_does_not_have(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("package://tiny-weights/gone.bin", base=base)
    assert str(caught.value) == (
        f"'package://tiny-weights/gone.bin' does not exist: there is no '{tmp_path / 'site' / 'gone.bin'}'"
    )


def test_a_package_that_is_not_installed(base: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("package://no-such-thing/model.bin", base=base)
    assert str(caught.value) == (
        "'package://no-such-thing/model.bin': no distribution or package 'no-such-thing' is installed here; install it"
    )


@pytest.mark.parametrize("uri", ["package://pip", "package://pip/../../secret", "package:///file"])
def test_package_uris_that_make_no_sense(base: Path, uri: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve(uri, base=base)
    assert str(caught.value) == f"{uri!r} cannot be understood; write package://DISTRIBUTION/path/in/it"


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert default_cache() == Path.home() / ".cache" / "airflow-agentic"


def keep(cache: Path, name: str, content: bytes = CONTENT) -> Path:
    """A file where an image or a volume has it."""
    place = cache / SHA / name
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    return place


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("../elsewhere/model.bin", "model.bin"),
        ("/no/such/folder/a b.bin", "a b.bin"),
        ("file:///no/such/folder/a%20b.bin", "a b.bin"),
        ("package://no-such-thing/inner/model.bin", "model.bin"),
        ("memory://nowhere/model.bin", "model.bin"),
    ],
)
def test_a_pinned_file_that_is_not_at_its_place_is_taken_from_the_cache(tmp_path: Path, uri: str, name: str) -> None:
    place = keep(tmp_path / "cache", name)
    assert resolve(uri, base=tmp_path, sha256=SHA, cache_dir=tmp_path / "cache") == place


def test_a_pinned_folder_that_is_not_at_its_place_is_taken_from_the_cache(base: Path, tmp_path: Path) -> None:
    digest = tree_digest(base / "saved")
    place = tmp_path / "cache" / digest / "saved"
    place.parent.mkdir(parents=True)
    (base / "saved").rename(place)
    assert resolve("saved/", base=base, sha256=digest, cache_dir=tmp_path / "cache") == place


@pytest.mark.parametrize("uri", ["gone.bin", "memory://bucket/gone.bin"])
def test_what_is_taken_from_the_cache_is_checked(tmp_path: Path, uri: str) -> None:
    keep(tmp_path / "cache", "gone.bin", b"other weights")
    with pytest.raises(ChecksumError):
        resolve(uri, base=tmp_path, sha256=SHA, cache_dir=tmp_path / "cache")


def test_a_file_at_its_place_comes_before_the_cache(base: Path, tmp_path: Path) -> None:
    keep(tmp_path / "cache", "model.bin")
    assert resolve("model.bin", base=base, sha256=SHA, cache_dir=tmp_path / "cache") == base / "model.bin"


def test_a_file_without_a_digest_is_not_guessed_from_the_cache(tmp_path: Path) -> None:
    keep(tmp_path / "cache", "gone.bin")
    with pytest.raises(ArtifactError) as caught:
        resolve("gone.bin", base=tmp_path, cache_dir=tmp_path / "cache")
    assert str(caught.value) == (
        f"'gone.bin' does not exist: there is no '{tmp_path / 'gone.bin'}'; relative paths start at '{tmp_path}'"
    )


def test_the_name_in_the_cache() -> None:
    uris = ["model.bin", "a/b#1?.bin", "s3://bucket/a%20b.bin", "package://dist/saved/", "https://example.org"]
    assert [file_name(uri) for uri in uris] == ["model.bin", "b#1?.bin", "a b.bin", "saved", "artifact"]
