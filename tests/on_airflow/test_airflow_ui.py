"""A person in the Airflow UI: fills in a form, is told what is wrong with it, sees the run end well, reads its logs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml
from airflow_extras import CARD, LOADER
from services import require

from scripts.airflow_demo import read_answers
from scripts.airflow_server import USER

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]

WORKFLOW: Final = "mixed-inbox"
TEXT: Final = "What a wonderful film.\nThis is awful."
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run")
SLOW: Final = 60_000
"""Milliseconds that a busy machine may take for a page."""


@pytest.fixture
def page(airflow_server: AirflowServer, tmp_path: Path) -> Iterator[Page]:
    """A browser that is logged in; a screenshot of how it ended is left in ``tmp_path``."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    require(find_spec("playwright"), "needs playwright: pip install playwright")
    require(chromium, "needs a browser: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        page = browser.new_page(base_url=airflow_server.url, viewport={"width": 1400, "height": 1300})
        page.set_default_timeout(SLOW)
        try:
            page.goto("/auth/login/")
            page.get_by_label("Username").or_(page.locator("input[name=username]")).first.fill(USER)
            page.locator("input[name=password]").fill(airflow_server.password)
            page.get_by_role("button", name=re.compile("sign in|log ?in", re.IGNORECASE)).click()
            page.wait_for_url(lambda url: "/auth/login" not in url)
            yield page
        finally:
            page.screenshot(path=tmp_path / "end.png")
            browser.close()


@pytest.fixture(scope="module")
def by_form(airflow_server: AirflowServer) -> str:
    """The workflow ``by-form``; in a file beside it is ``broken``, which names a model that there is none of."""
    folder = airflow_server.dags / "forms"
    head = {"apiVersion": "airflow-agentic/v1", "kind": "Workflow"}
    written = {
        "models/words": CARD,
        "workflows/by-form": {**head, "name": "by-form", "routes": [{"name": "main", "use": "words"}]},
        "workflows/broken": {**head, "name": "broken", "routes": [{"name": "main", "use": "wrods"}]},
    }
    for name, content in written.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "forms.py").write_text(LOADER)
    airflow_server.wait_dag("by-form")
    return "by-form"


def open_form(page: Page, dag_id: str) -> Locator:
    """The dialog behind the button Trigger."""
    page.goto(f"/dags/{dag_id}")
    page.get_by_role("button", name="Trigger").first.click()
    return page.get_by_role("dialog")


@pytest.mark.models
def test_a_workflow_is_triggered_by_its_form(page: Page, airflow_server: AirflowServer, tmp_path: Path) -> None:
    airflow_server.wait_dag(WORKFLOW)
    dialog = open_form(page, WORKFLOW)
    text = dialog.locator("textarea[name=element_text]")
    text.fill(TEXT)
    labels = dialog.get_by_test_id("config-form").locator("label").all_text_contents()
    task = dialog.locator("#element_task")
    assert "not stated" in task.inner_text()
    task.locator("input[role=combobox]").click()
    page.screenshot(path=tmp_path / "choices.png")
    page.get_by_role("option", name="text-analysis").click()
    dialog.get_by_role("button", name="Behaviour").click()
    dialog.get_by_text("keep them as error rows").wait_for()
    page.screenshot(path=tmp_path / "form.png")

    assert [label.strip() for label in labels][:4] == [
        "Text to answer",
        "Task of that text",
        "File, folder or URI",
        "At most this many records",
    ]
    dialog.get_by_role("button", name="Trigger").click()
    dialog.wait_for(state="hidden")
    (run_id,) = runs(airflow_server, WORKFLOW)[:1]
    assert airflow_server.wait_run(WORKFLOW, run_id)["state"] == "success"
    page.goto(f"/dags/{WORKFLOW}/runs/{run_id}")
    page.get_by_text("Success").first.wait_for()
    page.screenshot(path=tmp_path / "run.png")

    answers = read_answers(airflow_server.xcom(WORKFLOW, run_id, "publish")["uri"])
    assert [answer["label"] for answer in answers] == ["positive", "negative"]


def test_wrong_values_make_no_run_and_right_ones_do(
    page: Page, airflow_server: AirflowServer, by_form: str, tmp_path: Path
) -> None:
    before = runs(airflow_server, by_form)
    dialog = open_form(page, by_form)
    submit = dialog.get_by_test_id("trigger-dag-submit")
    dialog.locator("textarea[name=element_text]").fill("a good day\na bad day")
    dialog.get_by_role("button", name="Behaviour").click()
    on_error = dialog.locator("#element_on_error")
    on_error.get_by_text("keep them as error rows").wait_for()
    on_error.locator("input[role=combobox]").press("Backspace")
    dialog.get_by_text("This field is required").wait_for()
    page.screenshot(path=tmp_path / "missing.png")
    assert submit.is_disabled()
    on_error.locator("input[role=combobox]").click()
    page.get_by_role("option", name="fail the run").click()
    dialog.get_by_text("This field is required").wait_for(state="hidden")

    dialog.get_by_role("button", name="Run Parameters").click()
    limit = dialog.locator("input[name=element_limit]")
    limit.fill("1.5")
    submit.click()
    dialog.get_by_text("1.5 is not").wait_for()
    page.screenshot(path=tmp_path / "wrong.png")
    assert runs(airflow_server, by_form) == before

    limit.fill("1")
    submit.click()
    dialog.wait_for(state="hidden")
    run_id, *others = runs(airflow_server, by_form)
    assert others == before
    assert airflow_server.wait_run(by_form, run_id)["state"] == "success"
    (answer,) = read_answers(airflow_server.xcom(by_form, run_id, "publish")["uri"])
    assert answer["label"] == "positive"


def test_whole_records_are_pasted_as_json(
    page: Page, airflow_server: AirflowServer, by_form: str, tmp_path: Path
) -> None:
    dialog = open_form(page, by_form)
    dialog.get_by_role("button", name="Records").click()
    dialog.locator(".monaco-editor .view-lines").first.click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text('[{"record_id": "r1", "text": "a good day", "shop": "north"}, "a bad day"]')
    for key in ("ControlOrMeta+Shift+End", "Delete"):  # what the editor has closed by itself
        page.keyboard.press(key)
    page.screenshot(path=tmp_path / "records.png")
    dialog.get_by_test_id("trigger-dag-submit").click()
    dialog.wait_for(state="hidden")

    run_id = runs(airflow_server, by_form)[0]
    assert airflow_server.wait_run(by_form, run_id)["state"] == "success"
    answers = read_answers(airflow_server.xcom(by_form, run_id, "publish")["uri"])
    assert [answer["label"] for answer in answers] == ["positive", "negative"]
    assert answers[0]["record_id"] == "r1"


def test_logs_are_readable(page: Page, airflow_server: AirflowServer, by_form: str, tmp_path: Path) -> None:
    run_id = airflow_server.trigger(by_form, {"text": "a good day\na bad day"})
    assert airflow_server.wait_run(by_form, run_id)["state"] == "success"
    said = {
        "preprocess": "records: 2, shards: 1",
        "route": "main.words: 2",
        "main.words/mapped/0": "shard 0: predictions: 2, errors: 0",
        "aggregate": "records: 2, errors: 0",
        "publish": "records: 2, errors: 0",
    }
    for task, line in said.items():
        page.goto(f"/dags/{by_form}/runs/{run_id}/tasks/{task}")
        page.get_by_test_id("virtualized-list").get_by_text(line).first.wait_for()
        page.screenshot(path=tmp_path / f"log-{task.partition('/')[0]}.png")


def test_a_broken_workflow_shows_what_is_wrong_and_disturbs_no_other(
    page: Page, airflow_server: AirflowServer, by_form: str, tmp_path: Path
) -> None:
    said = "no model is called 'wrods'"
    airflow_server.wait_dag("broken")
    page.goto("/dags?name_pattern=b")
    page.get_by_role("link", name="broken", exact=True).wait_for()
    page.get_by_role("link", name=by_form, exact=True).wait_for()
    page.get_by_text("spec-error").first.wait_for()
    page.screenshot(path=tmp_path / "dags.png")
    page.goto("/dags/broken")
    page.get_by_role("button", name="Dag Docs").click()
    page.get_by_role("dialog").get_by_text("did you mean").wait_for()
    page.screenshot(path=tmp_path / "placeholder.png")
    broken, sound = airflow_server.trigger("broken"), airflow_server.trigger(by_form, {"text": "a good day"})
    assert airflow_server.wait_run("broken", broken)["state"] == "failed"
    page.goto(f"/dags/broken/runs/{broken}/tasks/spec-error")
    page.get_by_test_id("virtualized-list").get_by_text(said).first.wait_for()
    page.screenshot(path=tmp_path / "why.png")
    assert airflow_server.wait_run(by_form, sound)["state"] == "success"
    errors = airflow_server.request("GET", "/api/v2/importErrors")["import_errors"]
    assert [error for error in errors if "forms" in error["filename"]] == []


def runs(server: AirflowServer, dag_id: str) -> list[str]:
    """The Dag's runs, newest first."""
    found = server.request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params={"order_by": "-id"})
    return [str(run["dag_run_id"]) for run in found["dag_runs"]]
