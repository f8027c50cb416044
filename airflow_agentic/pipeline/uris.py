"""The URIs inside records: made absolute, and kept within what the workflow allows.

A record comes from outside (a file, a request, a message), its URI is opened by a process with our credentials: what it
may name is therefore a list of prefixes. Local files are plain absolute paths (``/data/a.jpg``, also when written
``file:///data/a.jpg``), everything else keeps its scheme. The check is by name: a symbolic link inside an allowed
folder is followed, because only who owns the folder can have put it there.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from airflow_agentic.exceptions import RecordError

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def is_remote(uri: str) -> bool:
    """Whether ``uri`` has a scheme other than ``file``."""
    match = _SCHEME.fullmatch(uri)
    return match is not None and match[1].lower() != "file"


def resolve(uri: str, folder: str | None) -> str:
    """``uri`` as an absolute path or URI.

    :param folder: where relative ones start: an absolute path or a URI; ``None`` where there is no such place.
    :raises RecordError: ``bad_record``: empty, relative with nothing to start from, or of a form that is refused
        (control characters, fsspec's ``a::b`` chains, ``..`` after a scheme, a ``file`` URI of another host).
    """
    if not uri.strip():
        raise RecordError("bad_record", "the uri is empty; give a path or a URI")
    if _CONTROL.search(uri) or "::" in uri:
        raise RecordError("bad_record", f"the uri {uri!r} holds a control character or '::'; give a plain path or URI")
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return _join(uri, folder)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        host, slash, path = rest.partition("/")
        path = unquote(path)
        if host not in {"", "localhost"} or not slash or _CONTROL.search(path) or "::" in path:
            raise RecordError("bad_record", f"the uri {uri!r} is no file of this machine; write file:///absolute/path")
        return os.path.normpath("/" + path)
    if ".." in re.split(r"[/\\]", unquote(unquote(rest))):
        raise RecordError("bad_record", f"the uri {uri!r} holds '..'; write the path without it")
    return f"{scheme}://{rest}"


def _join(path: str, folder: str | None) -> str:
    if os.path.isabs(path):
        return "/" + os.path.normpath(path).lstrip("/")
    if folder is None:
        raise RecordError("bad_record", f"the uri {path!r} is relative and there is no folder to start from here")
    match = _SCHEME.fullmatch(folder)
    if match is None:
        return os.path.normpath(os.path.join(folder, path))
    joined = posixpath.normpath(posixpath.join(match[2], path))
    if joined.startswith(".."):
        raise RecordError("bad_record", f"the uri {path!r} leads out of {folder}; write the whole URI")
    return resolve(f"{match[1]}://{joined}", None)


@dataclass(frozen=True)
class AllowedUris:
    """Which URIs a record may name; no prefixes at all (``None``) allows every one."""

    prefixes: tuple[str, ...] | None
    """Absolute, as :func:`resolve` returns them. One covers itself and what is below it, by whole path segments."""

    @classmethod
    def under(cls, folder: str | None, allowed: Sequence[str] | None) -> AllowedUris:
        """What ``allowed`` lists, and ``folder`` itself; an ``allowed`` of ``None`` restricts nothing.

        :raises RecordError: an entry of ``allowed`` is no URI.
        """
        if allowed is None:
            return cls(None)
        listed = tuple(resolve(prefix, folder) for prefix in allowed)
        return cls(listed if folder is None else (resolve(folder, None), *listed))

    def check(self, uri: str) -> str:
        """``uri`` itself.

        :raises RecordError: ``uri_not_allowed``: no prefix covers it.
        """
        if self.prefixes is None or any(_covers(prefix, uri) for prefix in self.prefixes):
            return uri
        shown = ", ".join(self.prefixes) or "nothing"
        raise RecordError(
            "uri_not_allowed",
            f"the uri {uri!r} is outside of what may be read ({shown}); add its prefix to allowed_uris",
        )


def _covers(prefix: str, uri: str) -> bool:
    return uri == prefix or uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/")
