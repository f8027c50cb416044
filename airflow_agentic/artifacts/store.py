"""The artifact store: objects under one base URI.

Local folder, memory, S3, Google Cloud Storage and Azure behave alike, on top of `obstore`. Every write is atomic: a
reader sees all of an object or none. On a local folder ``obstore`` writes ``name#1`` beside the target, then links
(:meth:`Store.create`) or renames it (:meth:`Store.write`), without fsync: a power cut can lose what was just written.
A folder that several machines share must therefore support hard links.

A store is safe to use from several threads. A process forked after its parent used one would hang in ``obstore``, whose
threads do not survive a fork, so every call in it is refused: start children with ``spawn``.

This module never imports Airflow: model pods and child processes use it.
"""

from __future__ import annotations

import builtins
import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store

from airflow_agentic.artifacts.ranges import Ranges
from airflow_agentic.exceptions import ArtifactError, InputError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from obstore.store import ClientConfig, RetryConfig

Objects: TypeAlias = LocalStore | MemoryStore | S3Store | GCSStore | AzureStore

SCHEMES: Final = ("file", "memory", "s3", "gs", "az")
RETRY: Final[RetryConfig] = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}
"""S3 answers 409 and 503 to plain concurrency: these few belong to one call, all others to the Airflow task."""

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(//)?")
_DENIED: Final = re.compile(r"status code: 40[13]\b")  # listings report it as a generic error
_UNSUPPORTED: Final = re.compile(r"status code: 501\b")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class NotFoundError(StoreError, FileNotFoundError):
    """There is no such object. Retrying cannot help."""

    retryable = False


class StoreRefusedError(StoreError, PermissionError):
    """The store will never do this: credentials, permissions, or it lacks conditional create. Retrying cannot help."""

    retryable = False


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """A committed Parquet file: ``name`` below its store's base, digest of its bytes, size in rows and bytes."""

    name: str
    sha256: str
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as a listing shows it: its name below the store's base, its size and when it was last written."""

    name: str
    bytes: int
    written_at: datetime


class Store:
    """Objects below one base URI, named by relative POSIX paths.

    Names have no empty, ``.`` or ``..`` part and no ``#`` or backslash; anything else is an :class:`InputError`.
    What a store refuses or fails is a :class:`StoreError` that says what was done to which URI.
    """

    def __init__(self, objects: Objects, base: str, prefix: str) -> None:
        self._objects = objects
        self._prefix = prefix
        self.base = base
        """The normalised URI, without a slash at its end. ``Store.open(store.base)`` is the same place."""

    @classmethod
    def open(cls, base: str, *, options: Mapping[str, str] | None = None) -> Store:
        """The store at ``base``; nothing is read or written yet.

        :param base: a path, ``file:///folder``, ``memory://`` (a new, empty store each time), ``s3://bucket/prefix``,
            ``gs://bucket/prefix`` or ``az://container/prefix``. Bucket prefixes are taken literally.
        :param options: ``obstore``'s configuration keys of that store, as ``endpoint``, ``region``, ``access_key_id``,
            ``secret_access_key``; what is not given comes from the environment (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``)
            or the machine's identity. Profiles of the AWS CLI are not read.
        :raises InputError: unknown scheme or option, or a URI that names no place.
        """
        scheme, rest = _split(base)
        if scheme in ("file", "memory") and options:
            raise InputError(
                f"{base!r} takes no options, but {sorted(options)!r} are set: remove them, or use s3://, gs:// or az://"
            )
        if scheme == "file":
            path = os.path.abspath(rest)
            return cls(LocalStore(), f"file://{quote(path)}".rstrip("/"), path.strip("/"))
        if scheme == "memory":
            prefix = _prefix(rest)
            return cls(MemoryStore(), f"memory:///{prefix}" if prefix else "memory://", prefix)
        bucket, _, tail = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):  # not shown: it may hold a secret, as in s3://key:secret@bucket
            raise InputError(
                f"the base URI names no bucket: write {scheme}://bucket/prefix, and credentials as options"
            )
        prefix = _prefix(tail)
        return cls(_remote(scheme, bucket, dict(options or {})), f"{scheme}://{bucket}/{prefix}".rstrip("/"), prefix)

    def __repr__(self) -> str:
        return f"Store({self.base!r})"

    def child(self, *parts: str) -> Store:
        """The store in a folder below; each part is one folder, quoted so that any id can be one (``:``, ``+``, ``/``).

        :raises InputError: a part is empty, absolute or climbs (``..``).
        """
        for part in parts:
            if not part or part == "." or part.startswith("/") or ".." in part.split("/"):
                raise InputError(f"{part!r} cannot name a folder of {self.base}: use a relative name without '..'")
        name = "/".join(quote(part, safe="") for part in parts)
        return Store(self._objects, self.uri(name), self._path(name)) if parts else self

    def uri(self, name: str) -> str:
        """The absolute URI of an object."""
        return f"{self.base}/{quote(_valid(name)) if self.base.startswith('file:') else _valid(name)}"

    def read(self, name: str) -> bytes:
        """:raises NotFoundError: there is no such object."""
        with self._translated("reading", name):
            return bytes(self._objects.get(self._path(name)).bytes())

    def write(self, name: str, data: bytes) -> None:
        """Write an object whole, over an earlier one."""
        with self._translated("writing", name):
            self._objects.put(self._path(name), data, mode="overwrite")

    def create(self, name: str, data: bytes) -> bool:
        """Write an object only if there is none; of several writers exactly one wins.

        :returns: whether it was written. After a network error that hid our own success this is ``False`` too: read
            the object to learn who won.
        :raises StoreRefusedError: the store cannot do this.
        """
        with self._translated("creating", name):
            try:
                self._objects.put(self._path(name), data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def upload(self, path: Path, name: str) -> None:
        """Write a local file as an object, whole, without holding it in memory."""
        with self._translated("writing", name):
            self._objects.put(self._path(name), path)

    def download(self, name: str, path: Path) -> None:
        """Write an object as a local file, without holding it in memory; its folders are made.

        :raises NotFoundError: there is no such object.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated("reading", name), path.open("wb") as file:
            for chunk in self._objects.get(self._path(name)).stream():
                file.write(chunk)

    def list(self, prefix: str = "", *, recursive: bool = True) -> list[str]:
        """Names of the objects in a folder, sorted; an absent folder is empty.

        :param prefix: a folder's name; whole parts count, so ``"a"`` does not list ``ab/c``.
        :param recursive: also those in its sub-folders.
        """
        return [one.name for one in self.objects(prefix, recursive=recursive)]

    def objects(self, prefix: str = "", *, recursive: bool = True) -> builtins.list[StoredObject]:
        """The same as :meth:`list`, with sizes and times."""
        folder = self._path(prefix) if prefix else self._prefix
        start = len(self._prefix) + 1 if self._prefix else 0
        with self._translated("listing", prefix or "."):
            if recursive:
                found = [item for chunk in self._objects.list(folder or None) for item in chunk]
            else:
                found = list(self._objects.list_with_delimiter(folder or None)["objects"])
        made = (
            StoredObject(name=one["path"][start:], bytes=one["size"], written_at=one["last_modified"]) for one in found
        )
        return sorted(made, key=lambda one: one.name)

    def folders(self) -> builtins.list[str]:
        """The parts that :meth:`child` took to make the folders right below this one, sorted."""
        start = len(self._prefix) + 1 if self._prefix else 0
        with self._translated("listing", "."):
            found = self._objects.list_with_delimiter(self._prefix or None)["common_prefixes"]
        return sorted(unquote(name[start:].rstrip("/")) for name in found)

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        try:
            with self._translated("looking for", name):
                self._objects.head(self._path(name))
        except NotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Delete an object; deleting what is not there is done already."""
        try:
            with self._translated("deleting", name):
                self._objects.delete(self._path(name))
        except NotFoundError:
            return

    def read_table(self, name: str) -> pa.Table:
        """A Parquet object as a table.

        :raises ArtifactError: it is no Parquet.
        """
        return parse_table(self.read(name), self.uri(name))

    def read_columns(self, name: str, columns: builtins.list[str]) -> pa.Table:
        """Some columns of a Parquet object; of the others no byte is fetched where the object is large.

        :raises NotFoundError: there is no such object.
        :raises ArtifactError: it is no Parquet.
        """
        with self._translated("reading", name):
            file = Ranges(self._objects, self._path(name))
            try:
                return pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=True).read(columns=columns)
            except pa.ArrowInvalid as error:
                raise _no_parquet(self.uri(name), error) from error

    def write_table(self, table: pa.Table, folder: str) -> DataFile:
        """Write ``{folder}/{sha256}.parquet`` with the table's schema metadata; the same bytes twice are one file."""
        file, data = self.data_file(table, folder)
        self.write(file.name, data)
        return file

    @staticmethod
    def data_file(table: pa.Table, folder: str) -> tuple[DataFile, bytes]:
        """What :meth:`write_table` writes, and under which name."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"{folder}/{sha256}.parquet"
        return DataFile(name=name, sha256=sha256, rows=table.num_rows, bytes=len(data)), data

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{_valid(name)}" if self._prefix else _valid(name)

    @contextmanager
    def _translated(self, action: str, name: str) -> Iterator[None]:
        uri = self.base if name == "." else self.uri(name)
        _refuse_fork(action, uri)
        try:
            yield
        except (BaseError, OSError, NotImplementedError) as error:
            kind, way_out = _kind(error, action)
            raise kind(f"{action} {uri} failed: {_cause(error)}; {way_out}") from error


class RecordingStore(Store):
    """The same place as ``store``; remembers the objects that are read."""

    def __init__(self, store: Store) -> None:
        super().__init__(store._objects, store.base, store._prefix)
        self.seen: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        self.seen[name] = data = super().read(name)
        return data


def parse_table(data: bytes, uri: str) -> pa.Table:
    """Parquet bytes as a table.

    :param uri: where they come from, for the message.
    :raises ArtifactError: they are no Parquet.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(data)).read()
    except pa.ArrowException as error:
        raise _no_parquet(uri, error) from error


def _no_parquet(uri: str, error: Exception) -> ArtifactError:
    return ArtifactError(f"{uri} is no Parquet file: {_cause(error)}; delete it and clear what wrote it")


def _split(base: str) -> tuple[str, str]:
    """Scheme and the rest; of a local folder the rest is its path."""
    match = _SCHEME.match(base)
    if not base:
        raise InputError("the base URI is '': name a folder, or s3://bucket/prefix")
    if match is None:
        return "file", os.path.expanduser(base)
    scheme = match[1].lower()
    if scheme not in SCHEMES or not match[2]:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise InputError(f"the base URI starts with {match[0]!r}, which is no known store: use a path, {known}")
    rest = base[match.end() :]
    if scheme != "file":
        return scheme, rest
    path = rest.removeprefix("localhost")
    if not path.startswith("/"):
        raise InputError(f"{base!r} names no local folder: write file:///folder, with three slashes")
    return scheme, unquote(path)


def _remote(scheme: str, bucket: str, options: dict[str, str]) -> Objects:
    config: Any = options  # obstore checks the keys; its types would have us list them all
    # any value of client_options, even an empty one, would hide AWS_ALLOW_HTTP and its like
    client: ClientConfig | None = {"allow_http": True} if options.get("endpoint", "").startswith("http://") else None
    try:
        if scheme == "s3":
            return S3Store(bucket, config=config, client_options=client, retry_config=RETRY)
        if scheme == "gs":
            return GCSStore(bucket, config=config, client_options=client, retry_config=RETRY)
        return AzureStore(bucket, config=config, client_options=client, retry_config=RETRY)
    except BaseError as error:
        raise InputError(f"{scheme}://{bucket} cannot be opened: {_cause(error)}; check the store's options") from error


def _prefix(path: str) -> str:
    path = path.strip("/")
    return _valid(path) if path else ""


def _valid(name: str) -> str:
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "#" in name or "\\" in name:
        raise InputError(f"{name!r} cannot name an object: use relative parts without '..', '#' or a backslash")
    return name


_first_user: int | None = None


def _refuse_fork(action: str, uri: str) -> None:
    global _first_user
    pid = os.getpid()
    if _first_user is None:
        _first_user = pid
    if _first_user != pid:
        raise StoreRefusedError(
            f"{action} {uri} failed: process {pid} was forked from {_first_user} after that had used a store; "
            "start the process with 'spawn', or use no store before the fork"
        )


def _kind(error: Exception, action: str) -> tuple[type[StoreError], str]:
    cause = _cause(error)
    if isinstance(error, FileNotFoundError):
        return NotFoundError, "check the URI, and that its bucket exists"
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)) or _DENIED.search(cause):
        return StoreRefusedError, "check the store's credentials and that they may read, write and list there"
    if isinstance(error, (NotSupportedError, NotImplementedError)) or _UNSUPPORTED.search(cause):
        return StoreRefusedError, "use a local folder, or a bucket with conditional writes (If-None-Match)"
    need = " and has hard links (a folder) or conditional writes (a bucket)" if action == "creating" else ""
    return StoreError, f"check that the store is reachable, writable and not full{need}, then retry"


def _cause(error: BaseException) -> str:
    """The first line: ``obstore`` adds a page of debug output."""
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(" .:")
