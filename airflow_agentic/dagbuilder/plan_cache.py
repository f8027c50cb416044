"""Compiled plans on disk, so that a Dag processor does not compile the same files again and again.

Never a source of truth. Invariants:

* an entry's name is the digest of everything its compilation read: the workflow's bytes and place, the bytes of every
  card it can see, the lock file, this code and this Python; so an edit is another name, and nothing is ever updated;
* an entry is written whole or not at all, and begins with the SHA-256 of the rest: what is damaged, cut or foreign is
  no entry and is written again;
* what does not compile is never stored; an error always comes from the files, with line and column;
* whatever goes wrong with the folder only costs time.

Entries are JSON. They are as trusted as the workflows: the folder is created for its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import pydantic

from airflow_agentic._version import __version__
from airflow_agentic.plan.ir import Plan
from airflow_agentic.project import LOCK_FILE, Project, Workflow
from airflow_agentic.registry.registry import package_folders
from airflow_agentic.spec.load import spec_files
from airflow_agentic.spec.workflow import WorkflowSpec

MAX_ENTRIES: Final = 5000
"""More are pruned, the oldest first, when a process stores its first entry."""
KEPT: Final = 4000
CODE: Final = ("artifacts", "pipeline", "plan", "registry", "routing", "spec")
"""The packages a compilation runs, beside the top modules."""
SUFFIX: Final = ".plan"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What the Dag is built from."""

    spec: WorkflowSpec
    plan: Plan

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self.spec.name


@dataclass
class PlanCache:
    """The entries of one project.

    :param folder: where they lie; need not exist.
    """

    project: Project
    folder: Path
    _pruned: bool = field(default=False, repr=False)

    def find(self, path: Path) -> Compiled | None:
        """What the workflow in ``path`` was compiled to, if it was, by this code from these files."""
        try:
            seal, _, content = (self.folder / self._entry(path)).read_bytes().partition(b"\n")
            if hashlib.sha256(content).hexdigest().encode() != seal:
                return None
            stored, _, plan = content.partition(b"\n")
            return Compiled(spec=_spec(json.loads(stored), path), plan=Plan.model_validate_json(plan))
        except (OSError, ValueError):
            return None

    def store(self, path: Path, workflow: Workflow) -> None:
        """Remember what ``path`` was compiled to, if its spec reads back the same; a plan always does, runs rest on it.

        A workflow with a cards' folder of its own is not stored: which folder that is, is known only once it is read.
        """
        if workflow.spec.models is not None:
            return
        with suppress(OSError, ValueError):
            document = workflow.spec.model_dump(mode="json", by_alias=True, exclude_unset=True)
            plan = workflow.plan.model_dump_json()
            again = _spec(document, path)
            again._source = workflow.spec.source  # the one thing that is not kept: errors come from the file
            if again != workflow.spec:
                return
            content = b"\n".join([json.dumps(document).encode(), plan.encode()])
            self._write(self._entry(path), hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def _entry(self, path: Path) -> str:
        own = path.read_bytes()
        place = os.fsencode(path.absolute())
        return hashlib.sha256(b"\0".join([self._around, place, hashlib.sha256(own).digest()])).hexdigest() + SUFFIX

    @cached_property
    def _around(self) -> bytes:
        """The digest of what all workflows of the project share: cards, lock file, code."""
        found = hashlib.sha256(code_digest())
        for folder in (self.project.root / "models", *package_folders()):
            found.update(os.fsencode(folder.resolve()) + b"\n")
            for path in spec_files(folder):
                found.update(os.fsencode(path.name) + hashlib.sha256(_bytes(path)).digest())
        found.update(hashlib.sha256(_bytes(self.project.root / LOCK_FILE)).digest())
        return found.digest()

    def _write(self, name: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._pruned:
            self._pruned = True
            self._prune()
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
            os.replace(temporary, self.folder / name)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise

    def _prune(self) -> None:
        with os.scandir(self.folder) as entries:
            found = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.name.endswith(SUFFIX))
        for _, path in found[:-KEPT] if len(found) > MAX_ENTRIES else []:
            with suppress(OSError):
                os.unlink(path)


def _spec(document: object, path: Path) -> WorkflowSpec:
    spec = WorkflowSpec.model_validate(document)
    spec._folder = path.parent
    return spec


def _bytes(path: Path) -> bytes:
    """Its content; nothing where it cannot be read, which a compilation finds out by itself."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@cache
def code_digest() -> bytes:
    """The digest of the code that compiles, as this process, or the one it was forked from, first saw it."""
    found = hashlib.sha256(f"{__version__} {sys.version} {pydantic.VERSION}".encode())
    for name, content in _code():
        found.update(name.encode() + hashlib.sha256(content).digest())
    return found.digest()


def _code() -> list[tuple[str, bytes]]:
    """The modules that a compilation runs, by name, and what they say."""
    package = Path(__file__).parent.parent
    found = [*package.glob("*.py"), *(path for name in CODE for path in (package / name).rglob("*.py"))]
    return sorted((str(path.relative_to(package)), path.read_bytes()) for path in found)
