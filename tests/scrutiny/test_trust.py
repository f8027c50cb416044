"""Code and pickles that nobody allowed are not run, wherever a card or a workflow names them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from bad_project import Project, labels, printed, published

SPY = """
from pathlib import Path
Path({touched!r}).touch()

def mood(text):
    return "good"

def fix(table):
    return table
"""


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.touched,)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With a second model, ``calm``, whose records begin with that word."""
    project = Project(tmp_path)
    project.card("calm", handler="mood", isolation="inline")
    project.lines({"id": "one", "text": "a good day"}, {"id": "calm", "text": "calm and good"})
    return project


@pytest.fixture
def spy(project: Project, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the module ``spy`` makes when it is imported."""
    touched = project.root / "touched"
    (project.root / "spy.py").write_text(SPY.format(touched=str(touched)))
    monkeypatch.syspath_prepend(project.root)
    monkeypatch.delitem(sys.modules, "spy", raising=False)
    return touched


ROUTES = (
    {"name": "side", "when": "record.text.startsWith('calm')", "use": "calm"},
    {"name": "main", "use": "mood"},
)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_handler_that_is_not_allowed_is_not_imported(project: Project, spy: Path, isolation: str) -> None:
    project.card(runtime={"framework": "python", "handler": "spy:mood"}, isolation=isolation)
    project.workflow(*ROUTES)
    answers = project.answers()
    said = "model 'mood': runtime.handler 'spy:mood' is not in allowed_handlers (bad_models); add 'spy' to [agentic] "
    said += "allowed_handlers if you trust it"
    assert project.failed == {"main.mood[0]": f"HandlerNotAllowedError: {said}"}
    assert labels(answers) == {"one": "model_unavailable", "calm": "good"}
    assert printed(project.command_line())["one"]["error"]["message"] == said
    assert not spy.exists()

    project.allowed_handlers = ("bad_models", "spy")
    assert labels(published(project.tasks(run_id="allowed").work())) == {"one": "good", "calm": "good"}
    assert spy.exists()


@pytest.mark.parametrize(
    ("changes", "use", "task"),
    [
        ({"preprocess": [{"handler": {"path": "spy:fix"}}]}, "calm", "preprocess"),
        ({}, {"ensemble": ["calm", "mood"], "aggregate": {"handler": "spy:fix"}}, "aggregate"),
    ],
    ids=["step", "aggregation"],
)
def test_nor_is_one_that_a_workflow_names(
    project: Project, spy: Path, changes: dict[str, Any], use: Any, task: str
) -> None:
    project.card(isolation="inline")
    project.workflow({"name": "main", "use": use}, **changes)
    assert project.tasks().work().failed[task] == (
        "HandlerNotAllowedError: the handler 'spy:fix' is not allowed here; add 'spy' (or 'spy:fix') to [agentic] "
        "allowed_handlers, which now has: bad_models"
    )
    assert project.command_line().exit_code == 4
    assert not spy.exists()


def test_a_pickle_is_not_loaded_unless_the_card_says_so(project: Project) -> None:
    import torch

    touched = project.root / "touched"
    torch.save({"0.weight": torch.eye(2), "0.bias": Payload(touched)}, project.root / "models" / "net.pth")
    runtime = {
        "framework": "torch",
        "artifact": "net.pth",
        "class": "airflow_agentic.runtime.modules:MLP",
        "args": {"sizes": [2, 2]},
    }
    project.card(input="tensor", runtime=runtime)
    project.workflow({"name": "side", "when": "record.kind == 'text'", "use": "calm"}, *ROUTES[1:])
    project.lines({"id": "calm", "text": "good"}, {"id": "one", "input": [0.0, 1.0]})
    tasks = project.tasks().work()
    assert tasks.failed["main.mood[0]"].startswith(
        "ModelLoadError: model 'mood': 'net.pth' cannot be loaded by framework torch"
    )
    assert labels(published(tasks)) == {"calm": "good", "one": "model_unavailable"}
    assert not touched.exists()

    project.card(input="tensor", runtime={**runtime, "trust": "pickle"})
    project.tasks(run_id="trusted").work()
    assert touched.exists()
