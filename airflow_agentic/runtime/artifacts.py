"""Where a model's file is on this machine.

URIs: a path or ``file://`` (relative ones start at the card's folder), ``package://DISTRIBUTION/path/in/it`` (of an
installed distribution or package; located, never imported), those of registries (``models:/``, ``hf://``: see
``runtime.sources``), and everything fsspec knows (``s3``, ``gs``, ``az``, ``https``…); the last two are copied into a
cache.

The cache, ``$AIRFLOW_AGENTIC_CACHE`` or ``~/.cache/airflow-agentic``. Invariants: an entry is a folder named by the
pinned SHA-256, else by the URI and what its store says of the content (ETag, time, size; of a commit the URI is
enough); it appears by one rename, complete and checked; it is never written again. Deleting entries is safe while no
model is being loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import AgenticError, ArtifactError, ChecksumError, StoreError
from airflow_agentic.runtime import sources

CACHE_VARIABLE: Final = "AIRFLOW_AGENTIC_CACHE"


def default_cache() -> Path:
    """The cache's folder; it need not exist."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "airflow-agentic"


def resolve(uri: str, *, base: Path, sha256: str | None = None, cache_dir: Path | None = None) -> Path:
    """The local path of ``uri``, a file or a folder.

    :param base: where relative paths start.
    :param sha256: of a file its bytes', of a folder its tree's digest.
    :raises ChecksumError: the content is not the pinned one.
    :raises StoreError: a remote store failed; retrying can help.
    :raises ArtifactError: there is nothing, or the URI cannot be understood.
    """
    if not is_local(uri):
        return _cached(uri, sha256, cache_dir or default_cache())
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    path = _packaged(uri) if scheme == "package" else base / _local(uri)
    if not path.exists():
        hint = (
            "" if scheme == "package" or Path(_local(uri)).is_absolute() else f"; relative paths start at {str(base)!r}"
        )
        raise ArtifactError(f"{uri!r} does not exist: there is no {str(path)!r}{hint}")
    check(path, uri=uri, sha256=sha256)
    return path


def is_local(uri: str) -> bool:
    """Whether ``uri`` is read where it lies: a path, or in a package."""
    if sources.understood(uri) is not None:
        return False
    return "://" not in uri or urlsplit(uri).scheme in {"file", "package"}


def check(path: Path, *, uri: str, sha256: str | None) -> None:
    """Compare the content of ``path`` with the pinned digest; ``None`` pins nothing.

    :raises ChecksumError: they differ.
    """
    if sha256 is None:
        return
    found = tree_digest(path)
    if found != sha256:
        raise ChecksumError(
            f"{uri!r} is not the pinned artifact: expected SHA-256 {sha256}, found {found}; "
            "fix the file or the card's sha256. A run pins what it finds when it starts: "
            "clear the whole run to use a file that was replaced since"
        )


def _local(uri: str) -> str:
    return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri


def _packaged(uri: str) -> Path:
    name, _, inner = uri.removeprefix("package://").partition("/")
    if not name or not inner or ".." in PurePosixPath(inner).parts:
        raise ArtifactError(f"{uri!r} cannot be understood; write package://DISTRIBUTION/path/in/it")
    candidates = [*_distribution(name, inner), *_package(name, inner)]
    if not candidates:
        raise ArtifactError(f"{uri!r}: no distribution or package {name!r} is installed here; install it")
    return next((path for path in candidates if path.exists()), candidates[0])


def _distribution(name: str, inner: str) -> list[Path]:
    try:
        return [Path(str(metadata.distribution(name).locate_file(inner)))]
    except metadata.PackageNotFoundError:
        return []


def _package(name: str, inner: str) -> list[Path]:
    if not name.isidentifier():
        return []  # a dotted name would import its parent
    spec = util.find_spec(name)
    return [Path(place) / inner for place in (spec.submodule_search_locations or [])] if spec else []


@dataclass(frozen=True, kw_only=True)
class _Remote:
    """A file or folder elsewhere."""

    name: str
    state: Callable[[], str]
    """A name for the content it has now."""
    get: Callable[[Path], None]
    """Copies it to a path."""


def _cached(uri: str, sha256: str | None, cache: Path) -> Path:
    kept = sources.understood(uri)
    name = kept.name if kept else PurePosixPath(unquote(urlsplit(uri).path)).name or "artifact"
    if sha256 is not None and (cache / sha256 / name).exists():
        return cache / sha256 / name
    try:
        remote = _stored(uri, name) if kept is None else _kept(uri, name)
        entry = cache / (sha256 or remote.state())
        if not (entry / name).exists():
            _fetch(uri, remote, entry, sha256)
    except AgenticError:
        raise
    except FileNotFoundError as error:
        raise ArtifactError(f"{uri!r} does not exist") from error
    except ImportError as error:
        raise ArtifactError(f"{uri!r} cannot be read here: {error}") from error
    except ValueError as error:  # an unknown protocol
        raise ArtifactError(f"{uri!r} cannot be understood: {error}") from error
    except OSError as error:
        raise StoreError(f"{uri!r} cannot be read: {type(error).__name__}: {error}") from error
    return entry / name


def _kept(uri: str, name: str) -> _Remote:
    """Of a registry."""

    def state() -> str:
        found = sources.find([uri])[uri]
        if isinstance(found, AgenticError):
            raise found
        return _named(found.uri, found.state)

    return _Remote(name=name, state=state, get=lambda target: sources.get(uri, target))


def _stored(uri: str, name: str) -> _Remote:
    """Of a store that fsspec knows."""
    import fsspec

    store, path = fsspec.core.url_to_fs(uri)
    return _Remote(
        name=name,
        state=lambda: _named(uri, _details(store, path)),
        get=lambda target: store.get(path, str(target), recursive=store.isdir(path)),
    )


def _fetch(uri: str, remote: _Remote, entry: Path, sha256: str | None) -> None:
    name = remote.name
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".fetch-") as temporary:
        part = Path(temporary) / "entry"
        part.mkdir()
        remote.get(part / name)
        check(part / name, uri=uri, sha256=sha256)
        try:
            part.rename(entry)
        except OSError:
            if not (entry / name).exists():  # an entry without its content: left by something else
                shutil.rmtree(entry, ignore_errors=True)
                part.rename(entry)


def _details(store: Any, path: str) -> Any:
    """What the store says of the content it has now."""
    return sorted(store.find(path, detail=True).items()) if store.isdir(path) else store.info(path)


def _named(uri: str, state: Any) -> str:
    return hashlib.sha256(json.dumps([uri, state], default=str, sort_keys=True).encode()).hexdigest()
