from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from airflow_agentic.artifacts import digest, file_digest, tree_digest
from airflow_agentic.exceptions import ArtifactError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_digest_is_that_of_the_canonical_json() -> None:
    value = {"b": [1, 1.0, 1e22, -0.5, True, None], "a": "é"}
    assert digest(value) == sha256(rb'{"a":"\u00e9","b":[1,1.0,1e+22,-0.5,true,null]}')


@pytest.mark.parametrize(
    ("one", "other"), [(1, 1.0), (1, True), (0, False), ("1", 1), (None, "null"), ([], {}), (0.0, -0.0)]
)
def test_what_is_another_json_has_another_digest(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 2), "$ is of type 'tuple', which has no canonical JSON: convert it first"),
        ({"a": [0, {1}]}, "$.a[1] is of type 'set', which has no canonical JSON: convert it first"),
        ({"a": b"x"}, "$.a is of type 'bytes', which has no canonical JSON: convert it first"),
        ({"a": {1: 2}}, "$.a has the key 1, which JSON confuses with '1': use strings as keys"),
    ],
)
def test_refuses_what_is_no_json(value: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        digest(value)
    assert str(caught.value) == message


def test_refuses_floats_that_json_cannot_say() -> None:
    with pytest.raises(ValueError, match=r"^\$\.a is nan, which JSON cannot say: use a finite number or None$"):
        digest({"a": float("nan")})


def test_a_file_is_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"weights")
    assert file_digest(file) == tree_digest(file) == sha256(b"weights")


def test_a_folder_is_its_sorted_files(tmp_path: Path) -> None:
    for name in ("b.bin", "a/z.txt", "a/b/c"):
        path = tmp_path / "one" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    expected = digest([[name, sha256(name.encode())] for name in ("a/b/c", "a/z.txt", "b.bin")])
    assert tree_digest(tmp_path / "one") == expected
    (tmp_path / "one" / "b.bin").rename(tmp_path / "one" / "c.bin")
    assert tree_digest(tmp_path / "one") != expected


def test_a_link_to_a_file_counts_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"x")
    for name in ("copied", "linked"):
        (tmp_path / name).mkdir()
    (tmp_path / "copied" / "m").write_bytes(b"x")
    (tmp_path / "linked" / "m").symlink_to(tmp_path / "blob")
    assert tree_digest(tmp_path / "linked") == tree_digest(tmp_path / "copied")


def test_refuses_a_link_to_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    link = tmp_path / "model" / "self"
    link.symlink_to(tmp_path / "model")
    with pytest.raises(ArtifactError) as caught:
        tree_digest(tmp_path / "model")
    assert str(caught.value) == (
        f"{str(tmp_path / 'model')!r} cannot be digested: {str(link)!r} links to a folder; put the folder there"
    )


@pytest.mark.parametrize("kind", ["absent", "broken link", "pipe"])
def test_refuses_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model" / "weights"
    path.parent.mkdir()
    if kind == "broken link":
        path.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ArtifactError) as caught:
        tree_digest(path if kind == "absent" else path.parent)
    assert str(caught.value) == f"{str(path)!r} cannot be digested: it is no file; check the path"


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who may not read it; root may read everything."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"x")

    def denied(path: object, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", denied)
        with pytest.raises(ArtifactError) as caught:
            tree_digest(tmp_path / "model")
    message = f"{str(tmp_path / 'model')!r} cannot be digested: Permission denied; make it readable"
    assert str(caught.value) == message
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(ArtifactError) as caught:
        file_digest(tmp_path / "model" / "weights")
    assert str(caught.value) == message.replace("model'", "model/weights'")
