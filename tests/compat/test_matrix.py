"""Other people's Airflow, of each minor version: what is there works, and what is not there has its fallback."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from environment import OURS, call
from history import BUNDLE, BUNDLED, CONNECTION, MAINTENANCE, TEAM, History

from scripts.airflow_demo import read_answers
from scripts.airflow_server import AirflowServer, AirflowServerError

pytestmark = [pytest.mark.airflow, pytest.mark.matrix, pytest.mark.timeout(900)]

ADDED: Final = {OURS, "cel-expr-python", "numpy", "obstore", "orjson", "pyarrow"}
"""Beside what an Airflow with a few providers has already."""
EXAMPLES: Final = {path.stem for path in (Path(__file__).parents[2] / "dags" / "workflows").glob("*.yaml")}
SHOWN: Final = {*EXAMPLES, "agentic_maintenance"}
EXAMPLE_BUNDLE: Final = "airflow-agentic-example-dags"
LABELS: Final = {
    "r0": "positive",
    "r1": "negative",
    "r2": "positive",
    "r3": "negative",
    "r4": "negative",
    "r5": None,
}
"""Of the reviews; the last has none of the model's words, the one before has one of each."""


@pytest.fixture(scope="module")
def runs(server: AirflowServer) -> dict[str, str]:
    """The ids of finished runs, by Dag. All at once: most of a run is waiting."""
    names = ("plain", "reviews", "reviews-compact", "own", "misspelt", BUNDLED)
    for name in (*names, "daily", "follower"):
        server.wait_dag(name)
    ids = {name: server.trigger(name) for name in names}
    for name, run_id in ids.items():
        server.wait_run(name, run_id)
    for name in ("daily", "follower"):  # those two are Airflow's own doing
        ids[name] = server.first_run(name)
        server.wait_run(name, ids[name])
    return ids


@pytest.fixture(scope="module")
def expired(server: AirflowServer, runs: dict[str, str], installed: History) -> tuple[str, dict[str, Any]]:
    """The run that the maintenance Dag found too old, and what it returned."""
    place = f"daily/{runs['daily']}"
    installed.age(place, days=2)
    run_id = server.trigger(MAINTENANCE, {"older_than": "1d"})
    assert server.wait_run(MAINTENANCE, run_id)["state"] == "success"
    return place, server.xcom(MAINTENANCE, run_id, "prune")


def state(server: AirflowServer, runs: dict[str, str], name: str) -> str:
    """Of a finished run."""
    return str(server.wait_run(name, runs[name])["state"])


def succeeded(server: AirflowServer, runs: dict[str, str], name: str) -> bool:
    """Whether a finished run did; where it did not, the logs of its failed tasks are in the error."""
    if state(server, runs, name) == "success":
        return True
    failed = [each for each in server.tasks(name, runs[name]) if each["state"] == "failed"]
    logs = [
        server.task_log(name, runs[name], each["task_id"], try_number=each["try_number"], map_index=each["map_index"])
        for each in failed
    ]
    raise AssertionError("\n".join([f"{name} did not succeed", *logs]))


def labels(server: AirflowServer, runs: dict[str, str], name: str, task: str) -> dict[str, str | None]:
    """The published answers' labels, by record."""
    found = read_answers(server.xcom(name, runs[name], task)["uri"])
    return {answer["record_id"]: answer["label"] for answer in found}


def passes(installed: History, *paths: str) -> None:
    """These unit tests of ours do inside that Airflow, none left out."""
    said = installed.environment.test(*(f"tests/unit/{path}" for path in paths))
    assert re.search(r"^\d+ passed(?!.*(?:skipped|failed))", said.splitlines()[-1].strip("= "))


def listed(said: str) -> list[dict[str, Any]]:
    """The JSON list in what a command printed; log lines may stand around it."""
    start = re.search(r"^\[(?=\s*[{\]])", said, re.MULTILINE)
    assert start is not None, said
    found: list[dict[str, Any]] = json.JSONDecoder().raw_decode(said, start.start())[0]
    return found


def test_the_wheel_changes_no_installed_version(installed: History) -> None:
    before, now = installed.frozen["before"], installed.frozen["with"]

    assert {name: version for name, version in now.items() if name in before} == before
    assert now.keys() - before.keys() <= ADDED
    assert OURS in now


@pytest.mark.feature("`airflow providers get airflow-agentic`")
def test_the_provider_is_found(installed: History, facts: dict[str, Any], there: bool) -> None:
    said = installed.together().command("providers", "get", OURS, "--output", "json")

    assert there
    (found,) = listed(said)
    assert found["Provider"] == OURS
    assert found["Version"] == facts["version"] == installed.frozen["with"][OURS]


@pytest.mark.feature("plugin by entry point")
def test_the_plugin_is_found(installed: History, there: bool) -> None:
    said = installed.together().command("plugins", "--output", "json")

    assert there
    found = {each["name"]: each["source"] for each in listed(said)}
    assert found["airflow_agentic"].startswith(f"{OURS}==")


@pytest.mark.feature("provider commands: `airflow agentic …`")
def test_the_commands(installed: History, there: bool) -> None:
    project = str(installed.environment.folder / BUNDLE)
    own = json.loads(call(Path(installed.environment.python).with_name(OURS), "validate", "--json", project))

    assert own["ok"]
    if there:
        assert json.loads(installed.together().command("agentic", "validate", "--json", project)) == own
    else:
        with pytest.raises(AirflowServerError, match="invalid choice: 'agentic'"):
            installed.together().command("agentic", "validate", project)


@pytest.mark.feature("`runner: kubernetes`")
def test_models_in_pods(installed: History, there: bool) -> None:
    assert there
    names = ("kubernetes", "pod", "warm_operator")
    passes(installed, *(f"operators/test_{name}.py" for name in names), "dagbuilder/test_pods.py")


@pytest.mark.feature("`runner: service`, a compact Dag at a gateway")
def test_models_behind_services(installed: History, there: bool) -> None:
    assert there
    passes(installed, "operators/test_service_operator.py", "operators/test_workflow_at_gateway.py")


@pytest.mark.feature("`airflow.sdk.conf`")
def test_our_section_is_read(facts: dict[str, Any], there: bool) -> None:
    assert facts["sdk"]["conf"] is there
    assert facts["setting"] == CONNECTION


@pytest.mark.feature("`get_parsing_context`")
def test_a_task_process_builds_one_dag(facts: dict[str, Any], there: bool) -> None:
    assert facts["sdk"]["get_parsing_context"] is there
    assert facts["asked"] == ["reviews"]


def test_the_examples_import_without_extras_and_models(facts: dict[str, Any]) -> None:
    assert facts["examples"].keys() == EXAMPLES
    assert all("spec-error" not in tags for tags in facts["examples"].values())


@pytest.mark.parametrize(
    ("name", "section", "owner"),
    [
        pytest.param(
            "allowed_run_types",
            "dag",
            "DAG",
            id="allowed_run_types",
            marks=pytest.mark.feature("`dag: {allowed_run_types: …}`"),
        ),
        pytest.param(
            "rerun_with_latest_version",
            "dag",
            "DAG",
            id="rerun_with_latest_version",
            marks=pytest.mark.feature("`dag: {rerun_with_latest_version: …}`"),
        ),
        pytest.param(
            "retry_policy",
            "task",
            "BaseOperator",
            id="retry_policy",
            marks=pytest.mark.feature("`task: {retry_policy: …}`"),
        ),
    ],
)
def test_a_newer_argument_is_named(facts: dict[str, Any], there: bool, name: str, section: str, owner: str) -> None:
    said = facts["arguments"][name]

    assert (said is None) is there
    if said is not None:
        assert said.startswith(f"{name!r} is no argument of the installed Airflow's {owner}")


@pytest.mark.feature("routes below `/agentic` in the API server")
def test_the_api_server_tells_of_runs(server: AirflowServer, runs: dict[str, str], there: bool) -> None:
    where = f"/agentic/dags/reviews/runs/{quote(runs['reviews'], safe='')}"

    assert there
    assert server.request("GET", f"{where}/report")["records"] == len(LABELS)
    told = server.request("GET", f"{where}/answers")["answers"]
    assert {one["record_id"]: one.get("label") for one in told} == LABELS
    assert server.request("GET", "/agentic/dags/reviews/workflow")["layout"] == "expanded"
    for route in (f"{where}/report", f"{where}/answers", "/agentic/dags/reviews/workflow", "/agentic/gateway/tasks"):
        assert server.send("GET", route, token="").status_code == 401
    with pytest.raises(AirflowServerError, match=r"answered 404: .*no gateway is configured"):
        server.request("GET", "/agentic/gateway/tasks")


@pytest.mark.feature("connection type `agentic_store`")
def test_the_connection_is_tested(server: AirflowServer, installed: History, there: bool) -> None:
    body = {
        "connection_id": "tried",
        "conn_type": "agentic_store",
        "extra": json.dumps({"uri": installed.store}),
    }

    assert there
    assert server.request("POST", "/api/v2/connections/test", body=body) == {
        "status": True,
        "message": f"{installed.store} can be written and read",
    }


@pytest.mark.feature("connection form from `conn-fields`")
def test_the_connections_form(server: AirflowServer, there: bool) -> None:
    listed = server.request("GET", "/ui/connections/hook_meta")
    (found,) = [each for each in listed if each["connection_type"] == "agentic_store"]

    assert found["hook_name"] == "Agentic artifact store"
    fields = {"uri", "region", "endpoint", "allow_http", "virtual_hosted_style_request", "skip_signature"}
    assert set(found["extra_fields"] or ()) == (fields if there else set())


@pytest.mark.feature("trigger form: sections, named choices")
def test_the_trigger_form(server: AirflowServer, runs: dict[str, str], there: bool) -> None:
    params = server.request("GET", "/api/v2/dags/reviews/details")["params"]
    said = params["on_error"]["schema"]

    assert there
    assert said["section"] == "Behaviour"
    assert said["values_display"]["keep"] == "keep them as error rows"


@pytest.mark.feature("`airflow.sdk.BaseBranchOperator`")
def test_route_is_a_branch(server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], there: bool) -> None:
    assert facts["sdk"]["BaseBranchOperator"] is there
    assert facts["compat"]["BaseBranchOperator"].startswith("airflow.sdk." if there else "airflow.providers.standard.")
    assert succeeded(server, runs, "reviews")
    assert labels(server, runs, "reviews", "publish") == LABELS


@pytest.mark.feature("`airflow.sdk.CronDataIntervalTimetable`")
def test_a_window_is_an_interval(
    server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], there: bool
) -> None:
    assert facts["sdk"]["CronDataIntervalTimetable"] is there
    assert succeeded(server, runs, "daily")
    assert server.xcom("daily", runs["daily"], "workflow")["records"] == 1


@pytest.mark.feature("`airflow.sdk.exceptions.AirflowFailException`")
def test_a_broken_workflow_fails_at_once(
    server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], there: bool
) -> None:
    assert facts["sdk"]["exceptions.AirflowFailException"] is there
    assert state(server, runs, "misspelt") == "failed"
    assert "no model is called 'wrods'" in server.task_log("misspelt", runs["misspelt"], "spec-error")


@pytest.mark.feature("`airflow.sdk.bases.decorator.determine_kwargs`")
def test_the_decorator_gets_its_arguments(
    server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], there: bool
) -> None:
    assert facts["compat"]["determine_kwargs"].startswith("airflow.sdk." if there else "airflow.utils.")
    assert succeeded(server, runs, "own")
    assert list(labels(server, runs, "own", "decorated").values()) == ["positive", "positive"]


@pytest.mark.feature("`map_index_template`")
def test_units_have_names(server: AirflowServer, runs: dict[str, str], there: bool) -> None:
    units = [each for each in server.tasks("reviews", runs["reviews"]) if each["map_index"] >= 0]

    assert there
    assert sorted(each["rendered_map_index"] for each in units) == ["unit 0", "unit 1"]


@pytest.mark.feature("`airflow.sdk.result`")
def test_publish_returns_where_the_answers_are(
    server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], installed: History, there: bool
) -> None:
    assert facts["sdk"]["result"] is there
    assert server.xcom("reviews", runs["reviews"], "publish")["uri"].startswith(installed.store)


@pytest.mark.feature("asset events with an extra")
def test_an_asset_event_carries_the_counts(server: AirflowServer, runs: dict[str, str], there: bool) -> None:
    assert there
    assert labels(server, runs, "reviews-compact", "workflow") == LABELS
    (seen,) = server.xcom("follower", runs["follower"], "seen")
    assert (seen["records"], seen["errors"]) == (6, 1)


@pytest.mark.feature("Dag bundles, also versioned ones (git)")
def test_a_workflow_in_a_git_bundle(
    server: AirflowServer, runs: dict[str, str], installed: History, there: bool
) -> None:
    assert there
    run = server.request("GET", f"/api/v2/dags/{BUNDLED}/dagRuns/{runs[BUNDLED]}")
    assert run["bundle_version"] == installed.commit
    assert succeeded(server, runs, BUNDLED)
    assert list(labels(server, runs, BUNDLED, "workflow").values()) == ["positive", "negative"]


@pytest.mark.feature("multi-team")
def test_a_teams_workflow(server: AirflowServer, runs: dict[str, str], installed: History, there: bool) -> None:
    if there:
        assert TEAM in installed.together().command("teams", "list")
        assert installed.settings()["AIRFLOW__CORE__MULTI_TEAM"] == "True"
    assert succeeded(server, runs, BUNDLED)


@pytest.mark.feature("`maintenance_dag()`")
def test_an_old_run_expires(expired: tuple[str, dict[str, Any]], there: bool) -> None:
    _, counts = expired

    assert there
    assert (counts["simulated"], counts["runs_by_workflow"]) == (False, {"daily": 1})


@pytest.mark.feature("`airflow-agentic artifacts …`")
def test_the_runs_are_listed(
    expired: tuple[str, dict[str, Any]], runs: dict[str, str], installed: History, there: bool
) -> None:
    place, _ = expired
    states = {place: one["state"] for place, one in installed.stored().items()}

    assert there
    assert states[place] == "expired"
    whole = {f"{name}/{runs[name]}" for name in ("reviews", "reviews-compact", BUNDLED)}
    assert {states[place] for place in whole} == {"complete"}


def test_somebody_elses_dag_runs_beside_ours(server: AirflowServer, runs: dict[str, str]) -> None:
    assert succeeded(server, runs, "plain")


def test_nothing_wants_to_write_into_the_dags_folder(server: AirflowServer, runs: dict[str, str]) -> None:
    if os.access(server.dags, os.W_OK):
        pytest.skip("the Dags folder is writable, because root may not mount here: run it as another user")
    logs = [server.log, *(server.home / "logs").rglob("*.log")]
    assert len(logs) > len(runs)
    assert [path for path in logs if re.search(r"Read-only file system|Permission denied", path.read_text())] == []


@pytest.mark.feature("example Dags of providers with `load_examples`")
def test_the_examples_are_shown_and_nothing_runs(
    server: AirflowServer, runs: dict[str, str], facts: dict[str, Any], there: bool
) -> None:
    assert (EXAMPLE_BUNDLE in facts["bundles"]) is there
    for name in SHOWN if there else ():
        dag = server.wait_dag(name)
        assert (dag["bundle_name"], dag["is_paused"], dag["timetable_summary"]) == (EXAMPLE_BUNDLE, True, None)
        assert server.request("GET", f"/api/v2/dags/{name}/dagRuns")["total_entries"] == 0
    errors = server.request("GET", "/api/v2/importErrors", params={"limit": 100})["import_errors"]
    assert [each for each in errors if each["bundle_name"] in {EXAMPLE_BUNDLE, BUNDLE, "dags-folder"}] == []


@pytest.fixture(scope="module")
def after(server: AirflowServer, runs: dict[str, str], installed: History) -> History:
    """Our wheel is gone again."""
    server.stop()
    installed.uninstall()
    return installed


def test_uninstalled_it_leaves_only_what_it_required(after: History) -> None:
    before, now = after.frozen["before"], after.frozen["after"]

    assert {name: version for name, version in now.items() if name in before} == before
    assert now.keys() - before.keys() == after.frozen["with"].keys() - before.keys() - {OURS}
    assert after.environment.left() == []


def test_airflows_commands_work_as_before(after: History) -> None:
    alone = after.alone()

    assert OURS not in alone.command("providers", "list")
    assert "airflow_agentic" not in alone.command("plugins")
    assert "plain" in alone.command("dags", "list")
    alone.command("dags", "test", "plain")


def test_what_ran_is_still_known(after: History, runs: dict[str, str]) -> None:
    said = after.alone().command("tasks", "states-for-dag-run", "reviews", runs["reviews"], "--output", "json")

    found = listed(said)
    assert {each["task_id"] for each in found} >= {"preprocess", "route", "main.words", "aggregate", "publish"}
    assert {each["state"] for each in found} == {"success"}
