"""The files behind an input: one file, a folder or a glob, here or in a store that fsspec reads."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import fsspec

from airflow_agentic.exceptions import AgenticError, InputError, RecordError, StoreError
from airflow_agentic.pipeline.uris import is_remote, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAGIC: Final = frozenset("*?[")
_ETAGS: Final = ("ETag", "etag", "e_tag", "md5Hash", "content_md5")
_TIMES: Final = ("LastModified", "last_modified", "mtime", "updated", "created")


@dataclass(frozen=True)
class File:
    """One file."""

    system: Any
    path: str
    """As its file system names it."""
    uri: str
    name: str
    """Below the input, with ``/``."""
    info: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What an input's name stands for."""

    files: tuple[File, ...]
    folder: str
    """What records may name URIs under: the folder itself, or that of the file or glob."""
    single: bool
    """One file was named: a text file is then a container of lines."""


def find(name: str, base: Path) -> Found:
    """The files that ``name`` stands for, sorted by path; below a folder, names on ``.`` and ``_`` are left out.

    :param base: where a relative name starts.
    :raises InputError: there is none, or this process cannot read such a URI.
    :raises StoreError: a remote store failed.
    """
    try:
        uri = resolve(name, os.path.abspath(base))
        system, path = fsspec.core.url_to_fs(uri)
    except RecordError as error:
        raise InputError(f"the input {name!r} cannot be read: {error}") from error
    except (ImportError, ValueError) as error:
        raise InputError(
            f"the input {name!r} needs fsspec's library for its scheme ({error}); install it, or name a local file"
        ) from error
    system.invalidate_cache()
    try:
        found = _list(system, path, uri)
    except OSError as error:
        raise lost(uri, error) from error
    if not found.files:
        if system.isdir(path):
            raise InputError(f"the input {name!r} holds no file ({uri}); check that it is the right folder")
        raise InputError(f"the input {name!r} does not exist (looked for {uri}); relative paths start at {base}")
    return found


def _list(system: Any, path: str, uri: str) -> Found:
    if system.isfile(path):
        folder = uri.rpartition("/")[0] or "/"
        return Found((File(system, path, uri, PurePosixPath(path).name, system.info(path)),), folder, True)
    is_glob = not _MAGIC.isdisjoint(path) and not system.isdir(path)
    root = _fixed_part(path) if is_glob else path
    listed = system.glob(path, detail=True) if is_glob else system.find(path, detail=True) if system.isdir(path) else {}
    files = []
    for name, info in sorted(listed.items()):
        below = name.removeprefix(root).lstrip("/")
        hidden = any(part.startswith((".", "_")) for part in below.split("/"))
        if _is_record(info, name) and not (hidden and not is_glob):
            files.append(File(system, name, _named(system, name, uri), below, info))
    return Found(tuple(files), _named(system, root, uri), False)


def _is_record(info: Mapping[str, Any], path: str) -> bool:
    """A file, or a link to one. A broken link is one too: its record says so. Links to folders can go in circles."""
    return info["type"] == "file" or (bool(info.get("islink")) and (os.path.isfile(path) or not os.path.exists(path)))


def _fixed_part(pattern: str) -> str:
    """The folder of a glob: everything before the first part that holds a pattern."""
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if not _MAGIC.isdisjoint(part))
    return "/".join(parts[:first]) or "/"


def _named(system: Any, path: str, uri: str) -> str:
    return str(system.unstrip_protocol(path)) if is_remote(uri) else path


def lost(name: str, error: Exception) -> AgenticError:
    """A file that cannot be read on: wrong where it is local, perhaps only for now where it is not."""
    if is_remote(name) and not isinstance(error, FileNotFoundError | PermissionError):
        return StoreError(f"{name} cannot be read ({error}); try again when its store answers")
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return InputError(f"{name} cannot be read ({reason}); check the file and its permissions")


def identity(file: File) -> dict[str, Any]:
    """``uri``, ``size``, and what changes with the content: ``etag`` or ``mtime``, else ``sha256``."""
    entry: dict[str, Any] = {"uri": file.uri, "size": file.info.get("size")}
    for key, names in (("etag", _ETAGS), ("mtime", _TIMES)):
        known = next((file.info[name] for name in names if file.info.get(name) is not None), None)
        if known is not None:
            return {**entry, key: str(known)}
    with file.system.open(file.path, "rb") as opened:
        return {**entry, "sha256": hashlib.file_digest(opened, "sha256").hexdigest()}
