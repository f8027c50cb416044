"""What a Dag run reads."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import card, compiled

from airflow_agentic.exceptions import InputError
from airflow_agentic.operators.inputs import fill, kept_params, run_input, run_options, salt_of, window
from airflow_agentic.spec.workflow import InputSpec

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def context(interval: bool = False, /, **params: Any) -> Any:
    """A task's context, as far as inputs look at it."""
    dates = {"data_interval_start": NOON.replace(hour=11), "data_interval_end": NOON} if interval else {}
    return {"params": params, **dates}


def read(spec: InputSpec | None, base: Path, **params: Any) -> list[dict[str, Any]]:
    source = run_input(spec, base, context(**params), ())
    return [row for table in source.chunks() for row in table.to_pylist()]


def test_the_salt_of_recompute_is_the_same_in_each_retry_and_another_after_clearing() -> None:
    def salt(tries: int, max_tries: int, recompute: bool = True) -> str:
        ti = SimpleNamespace(try_number=tries, max_tries=max_tries)
        return salt_of({"params": {"recompute": recompute}, "ti": ti})  # type: ignore[arg-type, typeddict-item]

    assert salt(1, 2) == salt(2, 2) == salt(3, 2) != ""
    assert salt(4, 5) == salt(5, 5) != salt(3, 2)
    assert salt(1, 2, recompute=False) == ""


def test_the_window_is_the_runs_data_interval() -> None:
    assert window(context(True)) == {"start": "2026-01-02T11:00:00+00:00", "end": "2026-01-02T12:00:00+00:00"}


def test_parameters_take_the_place_of_the_data_interval() -> None:
    found = window(context(True, window_start="2026-01-01T00:00:00Z", window_end=None))

    assert found == {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T12:00:00+00:00"}


def test_a_run_without_an_interval_has_no_window() -> None:
    assert window(context()) == {}


def test_placeholders_are_filled_in() -> None:
    filled = fill("s3://in/{params.region}/{window.start}.jsonl", {"start": "2026-01-01"}, {"region": "eu"})

    assert filled == "s3://in/eu/2026-01-01.jsonl"


def test_other_braces_stay() -> None:
    assert fill("in/{a,b}/*.{window}", {}, {}) == "in/{a,b}/*.{window}"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "in/{window.end}",
            "the input 'in/{window.end}' needs window.end, which this run does not have: "
            "give window_end in the trigger form, or write window: interval",
        ),
        (
            "in/{params.region}",
            "the input 'in/{params.region}' needs params.region, which this run does not have: give region",
        ),
    ],
)
def test_what_a_run_does_not_have_is_named(uri: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"\A{re.escape(message)}\Z"):
        fill(uri, {}, {})


def test_a_parameter_leads_to_no_other_folder() -> None:
    message = "params.region is 'eu/../..', which leaves the folder of the input 'in/{params.region}/x.jsonl'"
    with pytest.raises(InputError, match=rf"\A{re.escape(message)}\Z"):
        fill("in/{params.region}/x.jsonl", {}, {"region": "eu/../.."})


@pytest.mark.parametrize(("own", "params"), [("in.jsonl", {"uri": "/etc"}), ("{params.where}/in", {"where": "/etc"})])
def test_what_the_form_names_lies_in_the_project(tmp_path: Path, own: str, params: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"allowed_uris.* in the section \[agentic\]"):
        run_input(InputSpec(uri=own), tmp_path, context(**params), ())


def test_pasted_text_goes_first(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"text": "own"}\n')

    rows = read(InputSpec(uri="own.jsonl"), tmp_path, text="one\n\n  \ntwo\n", task="text-analysis", uri="other.jsonl")

    assert [(row["input"]["text"], row["task"]) for row in rows] == [("one", "text-analysis"), ("two", "text-analysis")]


def test_a_parameter_takes_the_place_of_the_workflows_file(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}\n')
    spec = InputSpec(uri="own.jsonl")

    assert [row["input"]["text"] for row in read(spec, tmp_path)] == ["own"]
    assert [row["input"]["text"] for row in read(spec, tmp_path, uri="other.jsonl")] == ["other"]


def test_a_limit_holds_for_text_and_for_files(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')

    assert len(read(InputSpec(uri="own.jsonl"), tmp_path, limit=1)) == 1
    assert len(read(None, tmp_path, text="a\nb\nc", limit=2)) == 2


def test_a_workflow_without_an_input_needs_one_of_the_run(tmp_path: Path) -> None:
    message = (
        "this workflow has no input of its own: give text, records or uri in the trigger form, "
        "or write input: in its file"
    )
    with pytest.raises(InputError, match=rf"\A{re.escape(message)}\Z"):
        run_input(None, tmp_path, context(), ())


def test_the_same_text_has_the_same_fingerprint() -> None:
    def fingerprint(text: str) -> list[dict[str, Any]]:
        return run_input(None, Path(), context(text=text), ()).fingerprint()

    assert fingerprint("a\nb") == fingerprint("a\n\nb\n") != fingerprint("a")


def test_whole_records_go_before_the_workflows_file(tmp_path: Path) -> None:
    records = [
        {"record_id": "a", "text": "one", "task": "other", "max_cost": 0.5, "shop": "north"},
        "two",
        {"bytes": base64.b64encode(b"three").decode()},
    ]

    rows = read(InputSpec(uri="own.jsonl"), tmp_path, records=records, task="text-analysis", limit=3)

    assert [(row["task"], row["max_cost"], row["shop"]) for row in rows] == [
        ("other", 0.5, "north"),
        ("text-analysis", None, None),
        ("text-analysis", None, None),
    ]
    assert [(row["input"]["text"], row["input"]["data"]) for row in rows] == [
        ("one", None),
        ("two", None),
        (None, b"three"),
    ]
    assert rows[0]["record_id"] == "a"
    assert len(read(None, tmp_path, records=records, limit=2)) == 2


def test_records_name_files_of_the_project_only(tmp_path: Path) -> None:
    workflows, photo = tmp_path / "workflows", tmp_path / "data" / "a.jpg"
    records = [{"uri": "data/a.jpg"}, {"uri": "../b.jpg"}, {"uri": "/etc/passwd"}, {"uri": "http://169.254.169.254/"}]

    rows = read(None, workflows, records=records)

    assert rows[0]["input"]["uri"] == str(photo)
    assert [row["error"] and row["error"]["code"] for row in rows] == [None, *["uri_not_allowed"] * 3]


def test_text_and_records_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\Atext and records are given; give one of them\Z"):
        run_input(None, tmp_path, context(text="a", records=["b"]), ())


def test_what_is_no_list_of_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\Arecords is str; give a list of texts and objects\Z"):
        run_input(None, tmp_path, context(records="b"), ())


def test_what_a_run_keeps_of_its_parameters_holds_no_record() -> None:
    assert kept_params({"text": "a", "records": ["b"], "limit": 3}) == {"limit": 3}
    (kept,) = run_input(None, Path(), context(records=[{"text": "secret"}]), ()).fingerprint()
    assert kept.keys() == {"records", "task"}
    assert "secret" not in str(kept)


def test_on_error_is_the_one_option_a_run_changes() -> None:
    plan = compiled("fake", card())

    assert run_options(plan, {"on_error": "keep"}) is plan
    assert run_options(plan, {}) is plan
    assert run_options(plan, {"on_error": "fail"}).options.on_error == "fail"
