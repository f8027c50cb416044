"""A person in the Airflow UI: logs in, opens a workflow, fills in the form, and sees the run end well."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from services import require

from scripts.airflow_demo import read_answers
from scripts.airflow_server import USER

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from scripts.airflow_server import AirflowServer

pytestmark = [pytest.mark.airflow, pytest.mark.models, pytest.mark.timeout(600)]

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


def test_a_workflow_is_triggered_by_its_form(page: Page, airflow_server: AirflowServer, tmp_path: Path) -> None:
    airflow_server.wait_dag(WORKFLOW)
    page.goto(f"/dags/{WORKFLOW}")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
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
    run_id = newest_run(airflow_server)
    assert airflow_server.wait_run(WORKFLOW, run_id)["state"] == "success"
    page.goto(f"/dags/{WORKFLOW}/runs/{run_id}")
    page.get_by_text("Success").first.wait_for()
    page.screenshot(path=tmp_path / "run.png")

    answers = read_answers(airflow_server.xcom(WORKFLOW, run_id, "publish")["uri"])
    assert [answer["label"] for answer in answers] == ["positive", "negative"]


def newest_run(server: AirflowServer) -> str:
    runs = server.request("GET", f"/api/v2/dags/{WORKFLOW}/dagRuns", params={"order_by": "-id", "limit": 1})
    return str(runs["dag_runs"][0]["dag_run_id"])
