"""Bad records: each an error row with one clear message, and the other records' answers stand.

Every record goes from a file through YAML cards and workflows to the answers that a Dag run publishes, expanded and
compact, and to what the command line prints; :meth:`Project.answers` holds the three against each other.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow_tasks import Tasks
from bad_files import ANSWERS, BAD, GOOD, LINES, jpeg, net_card, photo_card, write_files
from bad_project import Project, labels, published

BOUNDS = "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : "
SAID: dict[str, tuple[str, str]] = {
    "missing": ("unreadable", "the input's URI 'ROOT/missing.png' cannot be read: FileNotFoundError"),
    "truncated": ("bad_image", "the image cannot be decoded: "),
    "bomb": ("bad_image", "the image has more than 89,478,485 pixels"),
    "large": ("bad_image", "the image has 10000 x 10000 pixels; at most 89,478,485 are read"),
    "narrow": ("bad_image", "the image is too narrow: 1 x 1000000 pixels"),
    "empty": ("bad_image", "the image cannot be decoded: it is no image of a known kind"),
    "text": ("bad_image", "the image cannot be decoded: it is no image of a known kind"),
    "no frames": ("bad_image", "the image cannot be decoded: it is no image of a known kind"),
    "program": ("bad_image", "the image cannot be decoded: it is no image of a known kind"),
    "no bytes": ("bad_image", "the image cannot be decoded: it is no image of a known kind"),
    "pipe": (
        "unreadable",
        "the input's URI 'ROOT/pipe.png' cannot be read: OSError: [Errno 22] It is a pipe, socket or",
    ),
    "zero": (
        "unreadable",
        "the input's URI 'ROOT/zero.png' cannot be read: OSError: [Errno 22] It is a pipe, socket or",
    ),
    "gone": ("unreadable", "the input's URI 'ROOT/gone.png' cannot be read: FileNotFoundError"),
    "loop": ("unreadable", "the input's URI 'ROOT/loop.png' cannot be read: OSError: [Errno 40] Too many levels of"),
    "folder": ("unreadable", "the input's URI 'ROOT/folder.png' cannot be read: IsADirectoryError"),
    "endless": (
        "too_large",
        "the input's URI 'ROOT/endless.png' has more than 268,435,456 bytes, which is the most that",
    ),
    "no base64": ("bad_record", "LINE: the field 'bytes' is not base64 (Only base64 data is allowed)"),
    "climbs": (
        "uri_not_allowed",
        "LINE: the uri 'ABOVE/secret.png' is outside of what may be read (ROOT); add its prefix",
    ),
    "absolute": (
        "uri_not_allowed",
        "LINE: the uri '/etc/passwd' is outside of what may be read (ROOT); add its prefix",
    ),
    "as file": ("uri_not_allowed", "LINE: the uri '/etc/passwd' is outside of what may be read (ROOT); add its prefix"),
    "climbs encoded": (
        "bad_record",
        "LINE: the uri 's3://bucket/%2e%2e/secret.png' holds '..'; write the path without",
    ),
    "remote": (
        "uri_not_allowed",
        "LINE: the uri 'http://127.0.0.1:1/a.png' is outside of what may be read (ROOT); add",
    ),
    "chained": (
        "bad_record",
        "LINE: the uri 'simplecache::file:///etc/passwd' holds a control character or '::'; give",
    ),
    "nul": (
        "bad_record",
        "LINE: the uri 'red.png\\x00.txt' holds a control character or '::'; give a plain path or URI",
    ),
    "empty uri": ("bad_record", "LINE: the uri is empty; give a path or a URI"),
    "nan": ("bad_record", "LINE: not valid JSON: NaN is no JSON number; write null"),
    "infinite": ("bad_record", "LINE: the tensor under 'input' holds a number (inf), not a finite number"),
    "huge": ("bad_value", "the tensor is not a rectangle of numbers: int too large to convert to float"),
    "short": ("model_error", f"InvalidArgument: {BOUNDS}Got invalid dimensions for input: x"),
    "deep tensor": ("model_error", f"InvalidArgument: {BOUNDS}Invalid rank for input: x Got: 3 Expected: 2"),
    "no numbers": ("model_error", f"InvalidArgument: {BOUNDS}Got invalid dimensions for input: x"),
    "ragged": ("bad_record", "LINE: the tensor under 'input' is ragged; its rows must be of one length"),
    "words": ("bad_record", "LINE: the tensor under 'input' holds text ('a'), not a finite number"),
    "struct": ("wrong_input", "the record's input is of kind 'struct'; a model with input 'text' takes text"),
    "unknown task": ("no_route", "no route takes this record: no route matches and the workflow has no default"),
    "no input": ("bad_record", "LINE: the record has no input; give one of text, uri, bytes, input, or fields"),
    "two inputs": ("bad_record", "LINE: the record gives 'text' and 'uri'; keep one of them"),
    "surrogate": ("bad_record", "LINE: the field 'text' is not Unicode text (a lone surrogate at character 0)"),
    "long id": ("bad_record", "LINE: a record_id has at most 1,024 characters, found 2,000"),
    "number as text": ("bad_record", "LINE: the field 'text' is text, found a number"),
    "not UTF-8": ("bad_record", "LINE: not UTF-8 (byte 25); convert the file to UTF-8"),
    "UTF-16": ("bad_record", "LINE: not UTF-8 (byte 0); convert the file to UTF-8"),
    "no JSON": ("bad_record", "LINE: not valid JSON: Expecting property name enclosed in double quotes at column 2"),
    "cut off": ("bad_record", "LINE: not valid JSON: Unterminated string starting at at column 22"),
    "too deep": ("bad_record", "LINE: not usable JSON: it is nested too deeply"),
    "long number": ("bad_record", "LINE: not usable JSON: it holds a number of thousands of digits; give it as text"),
    "a list": ("bad_record", "LINE: a record is text or an object, found a list"),
    "null": ("bad_record", "LINE: a record is text or an object, found null"),
}
"""Code and start of the message; LINE is the record's line, ROOT the project's folder and ABOVE the one above it."""
PLACES = {name: place for place, name in enumerate([*ANSWERS, *BAD, *LINES], 1)}
ROUTES = (
    {"when": "record.kind in ['uri', 'bytes']", "use": "photo"},
    {"when": "record.kind == 'tensor'", "use": "net"},
    {"when": "!has(record.task) || record.task == 'text-analysis'", "use": "mood"},
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Texts go to ``mood``, images to ``photo``, tensors to ``net``; other tasks have no route."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.card("mood")
    photo_card(project)
    net_card(project)
    project.workflow(*ROUTES)
    write_files(project.root)
    return project


@pytest.fixture(scope="module")
def answers(project: Project) -> list[dict[str, Any]]:
    """Of all records, good and bad, in one run of three executors."""
    project.lines(*GOOD, *BAD.values(), *LINES.values())
    found = list(project.answers().values())
    assert project.failed == {}
    return found


def test_every_record_has_one_answer(answers: list[dict[str, Any]]) -> None:
    assert len(answers) == len(GOOD) + len(BAD) + len(LINES)
    assert SAID.keys() == {*BAD, *LINES}


def test_the_good_records_are_answered(answers: list[dict[str, Any]]) -> None:
    assert labels({row["record_id"]: row for row in answers[: len(GOOD)]}) == ANSWERS


@pytest.mark.parametrize("name", SAID)
def test_a_bad_record_says_what_is_wrong(project: Project, answers: list[dict[str, Any]], name: str) -> None:
    place = PLACES[name]
    row = answers[place - 1]
    code, said = SAID[name]
    said = said.replace("LINE", f"ROOT/inbox.jsonl:{place}").replace("ROOT", str(project.root))
    said = said.replace("ABOVE", str(project.root.parent))
    assert "label" not in row
    assert (row["error"]["code"], row["error"]["retryable"]) == (code, False)
    assert row["error"]["message"].startswith(said)
    if isinstance(BAD.get(name), dict) and name != "long id":
        assert row["record_id"] == name


MIXED = [GOOD[0], {"id": "broken", "uri": "text.png"}, BAD["climbs"], GOOD[3]]


def run_with(project: Project, run_id: str, **changes: Any) -> Tasks:
    """A Dag run of :data:`MIXED` with other keys of the workflow."""
    project.workflow(*ROUTES, **changes)
    return project.tasks(project.lines(*MIXED), run_id=run_id).work()


def files(project: Project, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file that a Dag run published."""
    folder = project.store / "default" / "demo" / run_id / "answers"
    return {
        path.relative_to(folder).as_posix(): [json.loads(line) for line in path.read_text().splitlines()]
        for path in sorted(folder.rglob("*.jsonl"))
    }


def ids(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """Of each file."""
    return {name: [row["record_id"] for row in rows] for name, rows in found.items()}


class TestOnError:
    ALL = ["good text", "broken", "climbs", "red"]
    JSONL = {"publish": {"format": "jsonl"}}

    def test_keep(self, project: Project) -> None:
        summary = run_with(project, "keep", **self.JSONL).published
        assert ids(files(project, "keep")) == {"part-00000.jsonl": self.ALL}
        assert (summary["records"], summary["errors"]) == (4, 2)
        assert (summary["error:bad_image"], summary["error:uri_not_allowed"]) == (1, 1)

    def test_dead_letter(self, project: Project) -> None:
        summary = run_with(project, "dead", on_error="dead_letter", **self.JSONL).published
        assert ids(files(project, "dead")) == {
            "dead_letters/part-00000.jsonl": ["broken", "climbs"],
            "part-00000.jsonl": self.ALL,
        }
        assert summary["dead_letters"] == f"{summary['uri']}/dead_letters"

    def test_dead_letters_in_json_hold_bytes_and_numbers_that_json_has_not(self, project: Project) -> None:
        rows = {"id": ["blue", "bytes"], "bytes": [jpeg(9, 9), b"\xff no image"], "size": [1.5, math.nan]}
        pq.write_table(pa.table(rows), project.root / "inbox.parquet")
        project.workflow(*ROUTES, on_error="dead_letter", **self.JSONL)
        project.tasks("inbox.parquet", run_id="bytes").work()
        (letter,) = files(project, "bytes")["dead_letters/part-00000.jsonl"]
        assert (letter["record_id"], letter["error"]["code"]) == ("bytes", "bad_image")
        assert base64.b64decode(letter["input"]["data"]) == b"\xff no image"
        assert letter["size"] is None

    def test_fail(self, project: Project) -> None:
        tasks = run_with(project, "fail", on_error="fail", **self.JSONL)
        assert tasks.failed == {
            "publish": "AnswersFailedError: 2 of 4 records have no answer, and the workflow says on_error: fail. The "
            "answers are committed; mend the cause and clear the failed Airflow tasks, or write on_error: keep. First: "
            "broken: the image cannot be decoded: it is no image of a known kind; climbs: "
            f"{project.root}/inbox.jsonl:3: the uri '{project.root.parent}/secret.png' is outside of what may be read "
            f"({project.root}); add its prefix to allowed_uris"
        }
        assert files(project, "fail") == {}
        assert tasks.values["aggregate"]["records"] == 4

    def test_fallback(self, project: Project) -> None:
        project.card("size", handler="size", task="sizing", input="bytes", output={"value": "bytes"})
        answers = published(run_with(project, "fallback", on_error="fallback", fallback="size"))
        assert (answers["broken"]["value"], answers["broken"]["model"]) == (15.0, "size")
        assert answers["climbs"]["error"]["code"] == "uri_not_allowed"
        assert (answers["good text"]["label"], answers["red"]["label"]) == ("good", "red")
