"""Models that a registry keeps, each kind of registry by its own client: a module with ``get``, and ``find`` where it
has names that move.

A client works in a process of its own (``python -m airflow_agentic.runtime.sources``), which ends with the one that
waits for it. So its imports, threads and logging settings stay out of Airflow's task and of the model process; and the
model process can be kept offline (``HF_HUB_OFFLINE``) against what frameworks would look up, while its file is fetched.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import AgenticError, ArtifactError, StoreError
from airflow_agentic.spec.explain import MisfitError
from airflow_agentic.spec.kept import HubUri, RegistryUri, parse

if TYPE_CHECKING:
    from pathlib import Path

CLIENTS: Final[Mapping[type, str]] = {RegistryUri: "mlflow", HubUri: "huggingface"}
"""The module that asks, by what is asked for."""
FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a disk, or a quota, that is full."""
_QUIET: Final = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a URI means now."""

    uri: str
    """Means the same tomorrow: of an alias the version."""
    state: Any
    """JSON that differs where the content does."""


def understood(uri: str) -> RegistryUri | HubUri | None:
    """What ``uri`` names in a registry; ``None`` for every other kind of URI.

    :raises ArtifactError: it names nothing there, or not for good.
    """
    try:
        return parse(uri)
    except MisfitError as error:
        raise ArtifactError(str(error).replace("\n", "; ")) from None


def find(uris: Sequence[str]) -> dict[str, Found | AgenticError]:
    """What each of ``uris``, of registries all, means now; for a commit of the hub nobody is asked."""
    found: dict[str, Found | AgenticError] = {}
    asked: list[str] = []
    for uri in dict.fromkeys(uris):
        if isinstance(understood(uri), HubUri):
            found[uri] = Found(uri=uri, state=None)
        else:
            asked.append(uri)
    for uri, reply in zip(asked, _ask(asked) if asked else [], strict=True):
        found[uri] = reply if isinstance(reply, AgenticError) else Found(**reply)
    return found


def get(uri: str, target: Path) -> None:
    """Copy the file or folder that ``uri`` names to ``target``, which is not there yet.

    :raises StoreError: the registry failed; retrying can help.
    :raises ArtifactError: it has no such thing, or does not let us.
    :raises MissingExtraError: its client is not installed.
    :raises OSError: there is no space for it.
    """
    (reply,) = _ask([uri, f"--to={target}"])
    if isinstance(reply, AgenticError):
        raise reply
    if "full" in reply:
        raise OSError(reply["full"], os.strerror(reply["full"]))


def _ask(arguments: list[str]) -> list[Any]:
    from airflow_agentic.runtime.child_process import HUB_OFFLINE, inherited  # Arrow, which Dag files do not need
    from airflow_agentic.runtime.framing import unpack_error

    environment = inherited()
    if HUB_OFFLINE in environment:  # in a model process
        environment["HF_HUB_OFFLINE"] = environment[HUB_OFFLINE]
    command = [sys.executable, "-P", "-m", __name__, *arguments]
    lifeline, ours = os.pipe()  # nobody writes: its end tells the client that we are gone
    try:
        done = subprocess.run(
            command, env={**environment, **_QUIET}, stdin=lifeline, stdout=subprocess.PIPE, check=False
        )
    finally:
        os.close(lifeline)
        os.close(ours)
    if done.returncode:
        raise StoreError(
            f"{arguments[0]!r} cannot be read: the process that asked for it ended with exit code {done.returncode}"
        )
    return [unpack_error(reply["error"]) if "error" in reply else reply for reply in json.loads(done.stdout)]
