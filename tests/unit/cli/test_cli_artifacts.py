"""``airflow-agentic artifacts``."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from builders import compiled
from executing import ALLOWED, CARDS, World, records, worked
from stored import written

from airflow_agentic.artifacts import Store
from airflow_agentic.execution import Folder
from airflow_agentic.execution.publish import publish

if TYPE_CHECKING:
    from pathlib import Path

    from cli_samples import Run

RUN_ID = "manual__2026-11-22T10:00:00+00:00"
DAY = 86400


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a finished run that publishes elsewhere, and one that has only begun."""
    for name in ("ARTIFACTS", "DEPLOYMENT", "RETENTION"):
        monkeypatch.delenv(f"AIRFLOW__AGENTIC__{name}", raising=False)
        monkeypatch.delenv(f"AIRFLOW_AGENTIC_{name}", raising=False)
    monkeypatch.setenv("AIRFLOW_AGENTIC_ARTIFACTS", str(tmp_path / "store"))
    store = Store.open(str(tmp_path / "store"))
    features = {"uri": "x", "features": {"size": "int", "tier": "string"}}
    plan = compiled("b", *CARDS, input=features, publish={"uri": str(tmp_path / "out")}, retention="30d", name="inbox")
    done = worked(Folder.of(store, "default", "inbox", RUN_ID, ALLOWED).start(plan, [records()], []), World())
    publish(done, RUN_ID, Store.open)
    plan = compiled("b", *CARDS, input=features, name="other")
    Folder.of(store, "default", "other", "r2", ALLOWED).start(plan, [records(3)], [])
    return tmp_path


def aged(base: Path, days: float) -> None:
    """As if everything had been written so long ago."""
    for path in (base / "store").rglob("*"):
        os.utime(path, (time.time() - days * DAY,) * 2)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_list(base: Path, run: Run) -> None:
    found = run("artifacts", "list")
    heading, inbox, other = words(found.stdout)
    assert heading == ["run", "workflow", "state", "written", "records", "answered", "size"]
    assert (inbox[:3], inbox[5:8]) == ([f"inbox/{RUN_ID}", "inbox", "complete"], ["14", "1/1", "shards"])
    assert (other[:3], other[5:8]) == (["other/r2", "other", "running"], ["3", "0/1", "shards"])
    assert words(run("artifacts", "list", "--workflow", "other").stdout)[1:] == [other]
    assert words(run("artifacts", "list", "--dag", "inbox").stdout)[1:] == [inbox]
    assert run("artifacts", "list", "--deployment", "prod").stdout == "no runs\n"
    aged(base, 1)
    assert words(run("artifacts", "list").stdout)[2][2] == "partly"


def test_list_for_machines(base: Path, run: Run) -> None:
    one, _ = json.loads(run("artifacts", "list", "--json").stdout)
    known = {name: one[name] for name in ("run", "dag_id", "run_id", "task_id", "workflow", "state", "records")}
    assert known == {
        "run": f"inbox/{RUN_ID}",
        "dag_id": "inbox",
        "run_id": RUN_ID,
        "task_id": "",
        "workflow": "inbox",
        "state": "complete",
        "records": 14,
    }
    assert (one["retention"], one["expired"], one["shards"], one["answered"]) == (30 * DAY, None, 1, 1)


def test_show(base: Path, run: Run) -> None:
    text = run("artifacts", "show", f"inbox/{RUN_ID}").stdout
    facts = {line[0]: " ".join(line[1:]) for line in words(text) if line}
    assert facts["records"] == "14 in 1 shards, 1 of them answered"
    assert facts["kept"] == "30d"
    assert facts["answers"] == Store.open(str(base / "out")).child(RUN_ID).base
    assert "preprocess ─ route ─ main ─ b ─ aggregate ─ publish" in text
    assert ["main.b", "1/1", "shards", "predictions", "13,", "errors", "2"] in words(text)
    assert words(text)[-3:] == [
        ["answered", "by", "b", "11"],
        ["no", "answer", "bad_record", "1"],
        ["no", "answer", "model_error", "2"],
    ]


def test_show_for_machines(base: Path, run: Run) -> None:
    found = json.loads(run("artifacts", "show", f"inbox/{RUN_ID}", "--json").stdout)
    assert (found["answers"], found["errors"]) == ({"b": 11}, {"bad_record": 1, "model_error": 2})
    assert [(one["node"], one["kind"], one["shards"]) for one in found["nodes"]] == [
        ("route", "route", 1),
        ("main.b", "infer", 1),
        ("aggregate", "aggregate", 1),
    ]
    assert found["nodes"][1]["counts"] == {"predictions": 13, "errors": 2}


def test_a_run_that_is_not_there(base: Path, run: Run) -> None:
    found = run("artifacts", "show", "inbox/r9")
    assert found.exit_code == 2
    assert "holds no run 'inbox/r9'; `airflow-agentic artifacts list` shows what is there" in found.stderr


def test_prune_says_what_it_would_do_and_does_it(base: Path, run: Run) -> None:
    aged(base, 31)
    dry = run("artifacts", "prune", "--dry-run")
    (line, total) = dry.stdout.splitlines()
    assert line.startswith(f"would expire inbox/{RUN_ID}: last written ")
    assert ", kept for 30d (" in line
    assert total.startswith("1 run, ")
    assert total.endswith(" would be freed")
    assert [line[2] for line in words(run("artifacts", "list").stdout)[1:]] == ["complete", "partly"]

    assert run("artifacts", "prune").stdout == dry.stdout.replace("would expire", "expired").replace(
        "would be freed", "freed"
    )
    assert [line[2] for line in words(run("artifacts", "list").stdout)[1:]] == ["expired", "partly"]
    assert run("artifacts", "prune").stdout == "0 runs, 0 bytes freed\n"
    assert run("artifacts", "prune", "--retention", "30d").stdout.startswith("expired other/r2: ")


def test_prune_for_machines(base: Path, run: Run) -> None:
    aged(base, 8)
    found = json.loads(run("artifacts", "prune", "--older-than", "1w", "--workflow", "inbox", "--json").stdout)
    (one,) = found["expired"]
    assert (found["dry_run"], one["run"], one["records"]) == (False, f"inbox/{RUN_ID}", 14)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("30m", "error: --older-than: '30m' is less than an hour, and could end a run that is under way; "),
        ("soon", "error: --older-than: 'soon' is not a duration; "),
    ],
)
def test_prune_refuses_what_cannot_be_meant(base: Path, run: Run, given: str, said: str) -> None:
    found = run("artifacts", "prune", "--older-than", given)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(said)


def test_an_expired_run_says_so_wherever_it_is_shown(base: Path, run: Run) -> None:
    aged(base, 31)
    run("artifacts", "prune")
    text = run("artifacts", "show", f"inbox/{RUN_ID}").stdout
    facts = {line[0]: " ".join(line[1:]) for line in words(text)}
    assert facts["state"].startswith("expired on ")
    assert facts["state"].endswith(", kept for 30d")
    assert facts["answers"] == f"{base / 'out'}/{RUN_ID} (yours: not deleted)"
    found = json.loads(run("artifacts", "show", f"inbox/{RUN_ID}", "--json").stdout)
    assert (found["state"], found["expired"]["workflow"], found["expired"]["records"]) == ("expired", "inbox", 14)


def test_erase_asks_first(base: Path, run: Run) -> None:
    for answer in ("n\n", ""):
        found = run("artifacts", "erase", "r5", stdin=answer)
        assert found.exit_code == 130
        where = Store.open(str(base / "store")).child("default").base
        assert f"Erase the record 'r5' from every run in {where}? This cannot be undone." in found.output
        assert "nothing was erased" in found.stderr
    assert b"text 5" in written(Store.open(str(base / "store")))
    found = run("artifacts", "erase", "r5", stdin="y\n")
    assert (found.exit_code, "erased 5 rows in 5 files of inbox/" in found.stdout) == (0, True)
    assert b"text 5" not in written(Store.open(str(base)))


def test_erase_says_what_is_still_under_way(base: Path, run: Run) -> None:
    found = run("artifacts", "erase", "r2", "--yes", "--dag", "other", "--run", "r2")
    assert (found.exit_code, found.stdout) == (0, "erased 1 row in 1 file of other/r2\n")
    assert found.stderr == "  it is running: if Airflow goes on with it, erase again after it\n"
    assert run("artifacts", "erase", "r2", "--yes", "--dag", "other").stdout == "no run holds the record\n"


def test_erase_names_what_is_out_of_reach(base: Path, run: Run) -> None:
    store = Store.open(str(base / "store")).child("default", "inbox", RUN_ID)
    (name,) = [name for name in store.list("main.b") if name.endswith(".parquet")]
    store.write(name, b"damaged")
    found = run("artifacts", "erase", "r5", "--yes")
    assert found.exit_code == 4
    assert found.stderr == (
        f"  out of reach: {store.uri(name)} is damaged, and may hold the record: delete it and clear the Airflow task\n"
    )
    found = run("artifacts", "erase", "r5", "--yes", "--json")
    (one,) = json.loads(found.stdout)["erased"]
    assert (found.exit_code, one["files"], len(one["unreached"])) == (4, 0, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--json",), "error: --json erases nothing without --yes: nobody can be asked\n"),
        (("--run", "r2", "--yes"), "error: --run 'r2' names no run by itself: give its Dag with --dag\n"),
    ],
)
def test_erase_refuses(base: Path, run: Run, given: tuple[str, ...], said: str) -> None:
    found = run("artifacts", "erase", "r5", *given)
    assert (found.exit_code, found.stderr) == (2, said)


def test_a_store_must_be_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_AGENTIC_ARTIFACTS", "AIRFLOW__AGENTIC__ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    found = run("artifacts", "list")
    assert found.exit_code == 2
    assert "--artifacts" in found.stderr


def test_airflows_own_variables_name_it_too(base: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_AGENTIC_ARTIFACTS")
    monkeypatch.setenv("AIRFLOW__AGENTIC__ARTIFACTS", (base / "store").as_uri())
    monkeypatch.setenv("AIRFLOW__AGENTIC__RETENTION", "1d")
    aged(base, 2)
    assert run("artifacts", "prune").stdout.startswith("expired other/r2: last written ")
    monkeypatch.setenv("AIRFLOW__AGENTIC__DEPLOYMENT", "prod")
    assert run("artifacts", "list").stdout == "no runs\n"
