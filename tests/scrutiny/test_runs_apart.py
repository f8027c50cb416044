"""A run is by the specs it started with, and by its own input only, whatever is edited or runs beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from bad_models import ASKED
from bad_project import Project, labels, published

TEXTS: Final = ("a good day", "a bad day", "raise")
OLD: Final = {"a good day": "good", "a bad day": "bad", "raise": "model_error"}
MAIN: Final = {"name": "main", "use": "mood"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.card(isolation="inline")
    project.workflow(MAIN)
    project.lines(*({"id": text, "text": text} for text in TEXTS))
    ASKED.clear()
    return project


@pytest.mark.parametrize("task", ["route", "main.mood", "aggregate", "publish"])
def test_what_is_edited_in_the_middle_changes_the_next_run_only(project: Project, task: str) -> None:
    tasks = project.tasks().work(until=task)
    project.card(handler="asked", isolation="inline", version="2")
    project.workflow({**MAIN, "when": "record.text != 'raise'"}, on_error="fail", publish={"format": "jsonl"})
    assert labels(published(tasks.work())) == OLD
    assert tasks.failed == {}
    assert ASKED == []

    after = project.tasks(run_id="next").work()
    assert list(after.failed) == ["publish"]
    assert after.failed["publish"].startswith("AnswersFailedError: 1 of 3 records have no answer")
    assert ASKED == ["a good day", "a bad day"]


@pytest.mark.parametrize("task", ["route", "main.mood", "aggregate", "publish"])
def test_a_dag_of_another_shape_is_refused_until_the_file_is_restored(project: Project, task: str) -> None:
    project.card("spare", isolation="inline")
    tasks = project.tasks().work(until=task)
    project.workflow({"name": "main", "use": {"cascade": ["mood", "spare"], "accept": "prediction.score > 0.5"}})
    name = "main.mood[0]" if task == "main.mood" else task
    assert tasks.work().failed[name] == (
        "PlanMismatchError: the Dag of 'demo' has changed since this run froze its plan: clear the whole run to use "
        "the new plan, or restore the workflow's file"
    )
    project.workflow(MAIN)
    assert labels(published(tasks.work())) == OLD
    assert labels(published(project.tasks(run_id="next").work())) == OLD


RUN: Final = """
import json, sys
from pathlib import Path
from bad_project import Project, labels, published
root, source, run_id, workflow = sys.argv[1:]
tasks = Project(Path(root)).tasks(source, workflow=workflow, run_id=run_id).work()
print(json.dumps([tasks.published["uri"], labels(published(tasks))]))
"""


def test_runs_at_once_do_not_mix(project: Project) -> None:
    """Six processes; the records of both inputs have the same ids, and all runs publish below one folder."""
    words = {"first.jsonl": ["good", "bad"] * 10, "second.jsonl": ["bad", "bad", "good", "good"] * 5}
    for name, said in words.items():
        project.lines(*({"id": f"r{place}", "text": word} for place, word in enumerate(said)), name=name)
    project.workflow(MAIN, shard={"rows": 4}, parallelism=2, publish={"uri": str(project.root / "out")})
    asked = [
        (source, f"{source} {workflow} {turn}", workflow)
        for source in words
        for turn, workflow in ((1, "demo"), (2, "demo"), (1, "compact"))
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RUN, str(project.root), *arguments],
            env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": ""},
            stdout=subprocess.PIPE,
            text=True,
        )
        for arguments in asked
    ]
    places = set()
    for (source, *_), process in zip(asked, processes, strict=True):
        said, _ = process.communicate()
        uri, found = json.loads(said.splitlines()[-1])
        places.add(uri)
        assert found == {f"r{place}": word for place, word in enumerate(words[source])}
    assert len(places) == len(asked)
