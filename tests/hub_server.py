"""A small Hugging Face hub on this machine: as much of its API as ``huggingface_hub`` uses to read a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = hashlib.sha1(b"first").hexdigest()
NEWER = hashlib.sha1(b"second").hexdigest()
TOKEN = "hf_of_a_test"


class Hub:
    """Models by ``org/name`` and commit; each has a branch ``main`` at the newest."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.broken: int | None = None
        """A status with which everything is answered."""
        self.requests: list[str] = []
        self.tokens: list[str | None] = []
        self.url = ""
        self.store = ""

    def answer(self, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        self.requests.append(path)
        self.tokens.append(token)
        if self.broken is not None:
            return self.broken, {}, b"out of order"
        if path.startswith("/store/"):  # large files lie elsewhere, and want no token
            return 200, {}, next(file for file in self._all() if hashlib.sha256(file).hexdigest() == path[7:])
        parts = path.removeprefix("/api/models").strip("/").split("/")
        name = "/".join(parts[:2])
        if name not in self.models or (name in self.private and token != f"Bearer {TOKEN}"):
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if name in self.gated and token != f"Bearer {TOKEN}":
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        what, revision = parts[2:4] if len(parts) > 3 else ("revision", "main")
        commit = list(self.models[name])[-1] if revision == "main" else revision
        if commit not in self.models[name]:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        files = self.models[name][commit]
        if what == "resolve":
            return self._file(files, commit, "/".join(parts[4:]))
        listed = [{"type": "file", "path": path, "size": len(body), "oid": _oid(body)} for path, body in files.items()]
        about = {"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]}
        return 200, {}, json.dumps(listed if what == "tree" else about).encode()

    def _file(self, files: dict[str, bytes], commit: str, path: str) -> tuple[int, dict[str, str], bytes]:
        if path not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        body, headers = files[path], {"X-Repo-Commit": commit}
        if not path.endswith(".onnx"):
            return 200, {**headers, "ETag": f'"{_oid(body)}"'}, body
        digest = hashlib.sha256(body).hexdigest()
        linked = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        return 302, {**headers, **linked, "Location": f"{self.store}/store/{digest}"}, b""

    def _all(self) -> Iterator[bytes]:
        return (body for commits in self.models.values() for files in commits.values() for body in files.values())


def _oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """``hub`` at its ``url``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            status, headers, body = hub.answer(path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        hub.store = f"http://localhost:{server.server_port}"  # another host: the token must not go there
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
