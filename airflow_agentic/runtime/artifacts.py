"""Where a model's file is on this machine.

URIs: a path or ``file://`` (relative ones start at the card's folder), ``package://DISTRIBUTION/path/in/it`` (of an
installed distribution or package; located, never imported), those of registries (``models:/``, ``hf://``: see
:mod:`airflow_agentic.runtime.sources`), and everything fsspec knows (``s3``, ``gs``, ``az``, ``https``…); what the last
two name is copied into a cache.

The cache, ``$AIRFLOW_AGENTIC_CACHE`` or ``~/.cache/airflow-agentic``. Invariants: an entry is a folder named by the
pinned SHA-256, else by the URI and what its store says of the content (ETag, time, size; of a commit the URI is
enough); it appears by one rename, complete and checked; it is never written again. Deleting entries is safe while no
model is being loaded.

In a container the cache is a folder of the image or a volume, and has what the machine with the card has elsewhere: a
pinned file that is not at its place is looked for there, as ``SHA256/NAME``. What is found by its digest is checked.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    cache = cache_dir or default_cache()
    kept = cache / sha256 / file_name(uri) if sha256 is not None else None
    if not is_local(uri):
        if kept is None or not kept.exists():
            return _cached(uri, sha256, cache)  # which checks what it fetches
        path = kept
    else:
        try:
            path = _placed(uri, scheme, base)
        except ArtifactError:
            if kept is None or not kept.exists():
                raise
            path = kept
    check(path, uri=uri, sha256=sha256)
    return path


def cached(sha256: str | None, *, cache_dir: Path | None = None) -> Path | None:
    """The file or folder of this digest in the cache: baked into an image, mounted, or fetched before.

    :raises ChecksumError: what lies there is something else.
    """
    entry = (cache_dir or default_cache()) / (sha256 or "")
    found = [] if sha256 is None or not entry.is_dir() else [path for path in entry.iterdir() if path.name[0] != "."]
    if len(found) != 1:
        return None
    check(found[0], uri=str(found[0]), sha256=sha256)
    return found[0]


@contextmanager
def new_entry(entry: Path, name: str, *, uri: str, sha256: str | None) -> Iterator[Path]:
    """Where to put the file or folder ``name`` that becomes the cache's ``entry``, after its digest is checked.

    :raises ChecksumError: it is something else; no entry appears.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".fetch-") as temporary:
        part = Path(temporary) / "entry"
        part.mkdir()
        yield part / name
        check(part / name, uri=uri, sha256=sha256)
        _appear(part, entry, name)


def is_local(uri: str) -> bool:
    """Whether it names a file of this machine: a path, ``file://`` or ``package://``."""
    return not is_kept(uri) and ("://" not in uri or urlsplit(uri).scheme in {"file", "package"})


def is_kept(uri: str) -> bool:
    """Whether it names a file that a registry keeps: ``models:/`` or ``hf://``.

    :raises ArtifactError: it names nothing there, or not for good.
    """
    return sources.understood(uri) is not None


def file_name(uri: str) -> str:
    """What the file or folder is called in the cache: the last part of the URI's path, else a model's name."""
    kept = sources.understood(uri)
    if kept is not None:
        return kept.name
    path = unquote(urlsplit(uri).path) if "://" in uri else uri
    return PurePosixPath(path).name or "artifact"


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


def _placed(uri: str, scheme: str, base: Path) -> Path:
    path = _packaged(uri) if scheme == "package" else base / _local(uri)
    if not path.exists():
        hint = (
            "" if scheme == "package" or Path(_local(uri)).is_absolute() else f"; relative paths start at {str(base)!r}"
        )
        raise ArtifactError(f"{uri!r} does not exist: there is no {str(path)!r}{hint}")
    return path


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

    state: Callable[[], Any]
    """What it is called and what is known of its content, as JSON: differs where the content does."""
    get: Callable[[Path], None]
    """Copies it to a path."""

    def entry(self) -> str:
        """Of the cache, for the content it has now."""
        return hashlib.sha256(json.dumps(self.state(), default=str, sort_keys=True).encode()).hexdigest()


def _cached(uri: str, sha256: str | None, cache: Path) -> Path:
    name = file_name(uri)
    try:
        remote = _kept(uri, cache) if is_kept(uri) else _stored(uri)
        entry = cache / (sha256 or remote.entry())
        if not (entry / name).exists():
            with new_entry(entry, name, uri=uri, sha256=sha256) as place:
                remote.get(place)
    except AgenticError:
        raise
    except FileNotFoundError as error:
        raise ArtifactError(f"{uri!r} does not exist") from error
    except ImportError as error:
        raise ArtifactError(f"{uri!r} cannot be read here: {error}") from error
    except ValueError as error:  # an unknown protocol
        raise ArtifactError(f"{uri!r} cannot be understood: {error}") from error
    except OSError as error:
        if error.errno in sources.FULL:
            raise StoreError(
                f"{uri!r} does not fit into the cache {str(cache)!r}: {os.strerror(error.errno or 0)}; delete entries "
                f"there, or set {CACHE_VARIABLE} to a folder with more space"
            ) from error
        raise StoreError(f"{uri!r} cannot be read: {type(error).__name__}: {error}") from error
    return entry / name


def _kept(uri: str, cache: Path) -> _Remote:
    """Of a registry. What was fetched so that a run could pin it is there for the pinned entry, too."""

    @functools.cache
    def state() -> Any:
        found = sources.find([uri])[uri]
        if isinstance(found, AgenticError):
            raise found
        return [found.uri, found.state]

    def get(target: Path) -> None:
        fetched = cache / remote.entry() / target.name
        if not fetched.exists():
            sources.get(uri, target)
        elif fetched.is_dir():
            shutil.copytree(fetched, target, copy_function=os.link)
        else:
            os.link(fetched, target)

    remote = _Remote(state=state, get=get)
    return remote


def _stored(uri: str) -> _Remote:
    """Of a store that fsspec knows."""
    import fsspec

    store, path = fsspec.core.url_to_fs(uri)

    def state() -> Any:
        return [uri, sorted(store.find(path, detail=True).items()) if store.isdir(path) else store.info(path)]

    return _Remote(state=state, get=lambda target: store.get(path, str(target), recursive=store.isdir(path)))


def _appear(part: Path, entry: Path, name: str) -> None:
    """Make ``part`` the cache's ``entry`` by one rename, unless another process was first."""
    try:
        part.rename(entry)
    except OSError:
        if not (entry / name).exists():  # an entry without its content: left by something else
            shutil.rmtree(entry, ignore_errors=True)
            part.rename(entry)
