"""Artifacts of the Hugging Face hub: the real client and a small hub on this machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from builders import card
from hub_server import COMMIT, NEWER, TOKEN, Hub, serving

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import (
    AgenticError,
    ArtifactError,
    ChecksumError,
    MissingExtraError,
    StoreError,
)
from airflow_agentic.runtime.artifacts import resolve
from airflow_agentic.runtime.child_process import environment
from airflow_agentic.runtime.sources.huggingface import refusal
from airflow_agentic.spec.kept import HubUri

pytest.importorskip("huggingface_hub")

WEIGHTS = b"weights" * 1000
SHA = hashlib.sha256(WEIGHTS).hexdigest()
URI = f"hf://acme/shoes@{COMMIT}"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    hub = Hub()
    hub.models["acme/shoes"] = {
        COMMIT: {"onnx/model.onnx": WEIGHTS, "onnx/[a].txt": b"odd", "labels.txt": b"boot\n", "README.md": b"# Shoes"},
        NEWER: {"onnx/model.onnx": b"newer"},
    }
    with serving(hub):
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fetch(uri: str, cache: Path, sha256: str | None = None) -> Path:
    return resolve(uri, base=Path(), sha256=sha256, cache_dir=cache)


def failed(uri: str, cache: Path) -> AgenticError:
    with pytest.raises(AgenticError) as caught:
        fetch(uri, cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]  # nothing half done is left
    return caught.value


def test_a_file(hub: Hub, cache: Path) -> None:
    found = fetch(f"{URI}/onnx/model.onnx", cache)
    assert (found.name, found.read_bytes()) == ("model.onnx", WEIGHTS)
    assert [path.name for path in found.parent.iterdir()] == ["model.onnx"]
    assert f"/acme/shoes/resolve/{COMMIT}/README.md" not in hub.requests
    assert fetch(f"hf://acme/shoes@{NEWER}/onnx/model.onnx", cache).read_bytes() == b"newer"


def test_a_folder_and_the_whole_repository(hub: Hub, cache: Path) -> None:
    folder = fetch(f"{URI}/onnx", cache)
    assert (folder.name, sorted(path.name for path in folder.iterdir())) == ("onnx", ["[a].txt", "model.onnx"])
    assert fetch(f"{URI}/onnx/[a].txt", cache).read_bytes() == b"odd"
    whole = fetch(URI, cache)
    assert whole.name == "shoes"
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert files == {"onnx/model.onnx", "onnx/[a].txt", "labels.txt", "README.md"}


def test_what_is_in_the_cache_needs_no_hub(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = [fetch(f"{URI}/onnx/model.onnx", cache), fetch(URI, cache), fetch(f"{URI}/labels.txt", cache, LABELS)]
    assert first[2].parent.name == LABELS
    hub.broken = 503
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    again = [fetch(f"{URI}/onnx/model.onnx", cache), fetch(URI, cache), fetch(f"{URI}/labels.txt", cache, LABELS)]
    assert again == first


LABELS = hashlib.sha256(b"boot\n").hexdigest()


def test_the_card_s_digest_is_checked(hub: Hub, cache: Path) -> None:
    assert fetch(f"{URI}/onnx/model.onnx", cache, SHA) == cache / SHA / "model.onnx"
    whole = fetch(URI, cache)
    asked = len(hub.requests)
    assert fetch(URI, cache, tree_digest(whole)) == cache / tree_digest(whole) / "shoes"
    assert len(hub.requests) == asked  # what was fetched to learn its digest is not fetched again
    with pytest.raises(ChecksumError):
        fetch(f"{URI}/onnx/model.onnx", cache, "0" * 64)


def test_a_private_repository_needs_a_token(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.private.add("acme/shoes")
    error = failed(URI, cache)
    assert not error.retryable
    assert str(error) == (f"{URI!r} does not exist, or is private: if it is, set HF_TOKEN to a token that may read it")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert fetch(URI, cache).is_dir()
    assert [seen for path, seen in zip(hub.requests, hub.tokens, strict=True) if path.startswith("/store/")] == [None]


def test_a_gated_repository(hub: Hub, cache: Path) -> None:
    hub.gated.add("acme/shoes")
    error = failed(URI, cache)
    assert (type(error), str(error)) == (
        ArtifactError,
        f"{URI!r} is refused by the hub: accept the terms of 'acme/shoes' on its page, and set HF_TOKEN to a token of "
        "that account",
    )


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        (
            f"hf://acme/hats@{COMMIT}",
            "does not exist, or is private: if it is, set HF_TOKEN to a token that may read it",
        ),
        (f"hf://acme/shoes@{'0' * 40}", "does not exist: 'acme/shoes' has no such commit; correct the card"),
        (f"{URI}/gone.onnx", "does not exist: 'acme/shoes' has no 'gone.onnx' at this commit; correct the card"),
    ],
)
def test_what_the_hub_does_not_have(hub: Hub, cache: Path, uri: str, why: str) -> None:
    error = failed(uri, cache)
    assert (type(error), str(error)) == (ArtifactError, f"{uri!r} {why}")


@pytest.mark.parametrize("status", [400, 403])
def test_a_hub_that_refuses(hub: Hub, cache: Path, status: int) -> None:
    hub.broken = status
    error = failed(f"{URI}/labels.txt", cache)
    assert type(error) is ArtifactError
    assert ("set HF_TOKEN" in str(error)) == (status == 403)


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (401, False), (429, True), (500, True), (503, True)])
def test_which_answers_are_worth_another_try(status: int, retryable: bool) -> None:
    """The client itself tries for half a minute before it gives one of these up."""
    uri = HubUri(repository="acme/shoes", commit=COMMIT, path="")
    request = Mock(spec=["status_code"], status_code=status)
    assert refusal(uri, Mock(spec=["response"], response=request)).retryable is retryable


def test_a_hub_that_is_away(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    error = failed(URI, cache)
    assert type(error) is StoreError
    assert str(error).startswith(
        f"{URI!r} cannot be read: look whether the hub, or what HF_ENDPOINT names, answers here ("
    )


def test_offline_is_the_user_s_word(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = failed(URI, cache)
    assert (type(error), str(error)) == (
        ArtifactError,
        f"{URI!r} is not in the cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to fetch it: unset it, or "
        "put the file into the cache",
    )
    assert hub.requests == []


def test_the_client_is_an_extra(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text("raise ImportError('not here')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    error = failed(URI, cache)
    assert (type(error), str(error)) == (
        MissingExtraError,
        "'huggingface_hub' is not installed here; install it with: pip install 'airflow-agentic[huggingface]'",
    )


def test_a_full_disk(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "huggingface_hub.py").write_text(
        "errors = type('', (), dict.fromkeys(['GatedRepoError', 'RevisionNotFoundError', 'RepositoryNotFoundError', "
        "'HfHubHTTPError', 'LocalEntryNotFoundError'], KeyError))\n"
        "def snapshot_download(*_, **__):\n"
        "    raise RuntimeError('3 of 4 files') from OSError(28, 'No space left on device')\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    error = failed(URI, cache)
    assert (type(error), str(error)) == (
        StoreError,
        f"{URI!r} does not fit into the cache {str(cache)!r}: No space left on device; delete entries there, or set "
        "AIRFLOW_AGENTIC_CACHE to a folder with more space",
    )


def test_the_client_leaves_no_trace_in_this_process(hub: Hub, cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from airflow_agentic.runtime.artifacts import resolve\n"
        f"resolve({URI!r}, base=Path(), cache_dir=Path({str(cache)!r}))\n"
        "print('huggingface_hub' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_the_way_out_of_a_branch_prints_its_commit(hub: Hub) -> None:
    with pytest.raises(ArtifactError) as caught:
        resolve("hf://acme/shoes@main/labels.txt", base=Path())
    code = str(caught.value).partition('python -c "')[2].removesuffix('"')
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == f"{NEWER}\n"


def test_a_model_process_fetches_and_keeps_its_framework_offline(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``HF_HUB_OFFLINE`` is set in a model process; only the artifact's own fetch goes by what it was before."""
    one = card(
        runtime={"framework": "onnx", "artifact": f"{URI}/labels.txt", "text": {}}, isolation="process", input="text"
    )
    code = (
        "import huggingface_hub, sys; from pathlib import Path; from airflow_agentic.runtime.artifacts import resolve\n"
        "print(huggingface_hub.is_offline_mode(), resolve(sys.argv[1], base=Path(), cache_dir=Path(sys.argv[2])).name)"
    )
    command = [sys.executable, "-c", code, f"{URI}/labels.txt", str(cache)]
    found = subprocess.run(command, env=environment(one), capture_output=True, text=True, check=True)
    assert found.stdout == "True labels.txt\n"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused = subprocess.run(
        [*command[:-1], f"{cache}2"], env=environment(one), capture_output=True, text=True, check=False
    )
    assert "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids to fetch it" in refused.stderr
