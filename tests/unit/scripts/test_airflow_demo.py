"""What the demo prints of a run's answers."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from airflow_agentic.artifacts import Store
from airflow_agentic.exceptions import ExpiredRunError
from airflow_agentic.execution.expiry import Tombstone, bury
from airflow_agentic.tables import ANSWER, error
from scripts.airflow_demo import answers_table, read_answers

if TYPE_CHECKING:
    from pathlib import Path


def answer(record_id: str, **values: Any) -> dict[str, Any]:
    return {"record_id": record_id, "degraded": False, "cost": 0.0, "calls": 1, **values}


GOOD = answer(
    "photo-1",
    task="image-classification",
    model="lite2-torch",
    label="tabby [cat]",
    score=0.871,
    cost=0.0012,
    latency_ms=31.4,
    route={"rule": "routes[0]", "reason": "lite0-tf was unsure"},
    degraded=True,
)
BAD = answer("photo-2", error=error("unreadable_image", "cannot identify image file"))


def rendered(rows: list[dict[str, Any]]) -> str:
    console = Console(file=io.StringIO(), width=240)
    console.print(answers_table(rows))
    out = console.file
    assert isinstance(out, io.StringIO)
    return out.getvalue()


def test_parquet_and_json_lines_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([GOOD], schema=ANSWER), tmp_path / "part-0.parquet")
    (tmp_path / "part-1.jsonl").write_text(json.dumps(BAD) + "\n")
    (tmp_path / "dead_letters").mkdir()
    (tmp_path / "dead_letters" / "part-1.jsonl").write_text(json.dumps(BAD) + "\n")

    assert [row["record_id"] for row in read_answers(tmp_path.as_uri())] == ["photo-1", "photo-2"]


def test_one_file_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "all answers.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + json.dumps(BAD) + "\n")

    assert [row["record_id"] for row in read_answers(file.as_uri())] == ["photo-1", "photo-2"]


def test_an_expired_run_says_so(tmp_path: Path) -> None:
    run = Store.open(str(tmp_path / "run"))
    bury(run, Tombstone(expired_at="2026-11-26T00:00:00+00:00", why="old", workflow="demo", records=2))

    with pytest.raises(ExpiredRunError, match=r"^the run in file://.*/run expired on 2026-11-26: old\. "):
        read_answers((tmp_path / "run" / "answers").as_uri())


def test_answers_elsewhere_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^'s3://bucket/answers' is not a file URI; the demo reads answers from this "
    ):
        read_answers("s3://bucket/answers")


def test_an_answer_is_a_line_with_its_route() -> None:
    line = next(line for line in rendered([GOOD, BAD]).splitlines() if "photo-1" in line)

    assert re.split(r"\s{2,}", line.strip()) == [
        "photo-1",
        "image-classification",
        "lite2-torch",
        "tabby [cat]",
        "0.87",
        "routes[0] · lite0-tf was unsure (degraded)",
        "0.001200",
        "31.4",
    ]


def test_an_error_is_shown_with_its_code() -> None:
    assert "unreadable_image: cannot identify image file" in rendered([GOOD, BAD])
