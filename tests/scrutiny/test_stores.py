"""An artifact store that is full or read-only: a clear failure, then a retry that completes and repeats nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from bad_models import ASKED
from bad_project import Project, labels, published

SIZE: Final = 512 * 2**10
TEXTS: Final = ("one", "two", "three", "four", "five", "six")
Mount = Callable[[str], object]
"""Mounts the store's disk again with other options, as ``ro``."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six records in shards of two, all for one model of this process."""
    project = Project(tmp_path)
    project.card(handler="asked", isolation="inline")
    project.workflow(shard={"rows": 2})
    project.lines(*({"id": text, "text": text} for text in TEXTS))
    ASKED.clear()
    return project


@pytest.fixture
def mount(project: Project) -> Iterator[Mount]:
    """A disk of half a megabyte under the project's store."""
    project.store.mkdir()

    def call(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(project.store)], capture_output=True, text=True, check=check)

    mounted = call("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", check=False)
    if mounted.returncode:
        pytest.skip(f"needs to mount a small disk, as root can: {mounted.stderr.strip()}")
    try:
        yield lambda options: call("mount", "-o", f"remount,{options}")
    finally:
        call("umount", "-l")  # whoever still holds a file there must not keep the disk


@pytest.mark.parametrize("workflow", ["demo", "compact"])
def test_a_store_that_is_full_in_the_middle(project: Project, mount: Mount, workflow: str) -> None:
    fill = f"fill {project.store}"
    project.lines(*({"id": text, "text": text} for text in ("one", "two", fill, "four", "five", "six")))
    tasks = project.tasks(workflow=workflow).work()
    name = "workflow" if workflow == "compact" else "main.mood[0]"
    assert "No space left on device" in tasks.failed[name]
    assert tasks.failed[name].endswith("check that the store is reachable, writable and not full, then retry")
    assert tasks.failures[name].retryable  # type: ignore[attr-defined]  # it is a StoreError
    assert ["one", "two", fill, "four"] == ASKED

    (project.store / "ballast").unlink()
    assert set(labels(published(tasks.work())).values()) == {"good"}
    assert tasks.failed == {}
    assert ["one", "two", fill, "four", fill, "four", "five", "six"] == ASKED


@pytest.mark.parametrize("workflow", ["demo", "compact"])
def test_a_store_that_is_read_only_from_the_start(project: Project, mount: Mount, workflow: str) -> None:
    mount("ro")
    tasks = project.tasks(workflow=workflow).work()
    said = tasks.failed["workflow" if workflow == "compact" else "preprocess"]
    assert "Read-only file system" in said
    assert said.endswith("then retry")
    assert ASKED == []

    mount("rw")
    assert set(labels(published(tasks.work())).values()) == {"good"}
    assert list(TEXTS) == ASKED


def test_a_store_that_becomes_read_only_in_the_middle(project: Project, mount: Mount) -> None:
    tasks = project.tasks().work(until="aggregate")
    mount("ro")
    assert "Read-only file system" in tasks.work().failed["aggregate"]

    mount("rw")
    assert set(labels(published(tasks.work())).values()) == {"good"}
    assert tasks.failed == {}
    assert list(TEXTS) == ASKED


@pytest.mark.parametrize("name", ["answers.jsonl", "answers.parquet"])
def test_an_output_for_which_there_is_no_room(project: Project, mount: Mount, name: str) -> None:
    project.lines({"id": "full", "text": f"fill {project.store}"})
    path = project.store / name
    result = project.command_line("inbox.jsonl", "--output", str(path))
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1] == f"error: --output {str(path)!r} cannot be written: No space left on device"
    assert [one.name for one in project.store.iterdir()] == ["ballast"]
