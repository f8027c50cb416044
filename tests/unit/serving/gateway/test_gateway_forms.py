"""Multipart forms: files are records."""

from __future__ import annotations

import pytest
from executing import World
from gateways import asking, moods

from airflow_agentic.serving.gateway.forms import form_document
from airflow_agentic.serving.gateway.problems import ProblemError

TYPE = "multipart/form-data; boundary=XX"


def form(*parts: str, end: bool = True) -> bytes:
    """Parts as ``HEADERS|CONTENT``."""
    whole = "".join(
        f"--XX\r\n{headers}\r\n\r\n{content}\r\n" for headers, _, content in (part.partition("|") for part in parts)
    )
    return (whole + ("--XX--\r\n" if end else "")).encode("latin-1")


FILE = 'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg|\xff\xd8'
OTHER = 'Content-Disposition: form-data; name="file"; filename="b.jpg"|other'
TASK = 'Content-Disposition: form-data; name="task"|text-analysis'


async def test_a_text_file_is_answered() -> None:
    async with asking(World(), specs=[moods("a")]) as client:
        answer = await client.post(
            "/predict", data={"task": "text-analysis"}, files={"file": ("note.txt", b"fine", "text/plain")}
        )
    assert (answer.status_code, answer.json()["model"]) == (200, "a")


def test_one_file_is_one_record_with_what_stands_beside_it() -> None:
    limit = 'Content-Disposition: form-data; name="max_cost"|0.5'
    assert form_document(form(TASK, FILE, limit), TYPE, most=5) == {
        "task": "text-analysis",
        "max_cost": 0.5,
        "bytes": b"\xff\xd8",
    }


def test_several_files_are_records_named_by_their_files_where_all_differ() -> None:
    assert form_document(form(TASK, FILE, OTHER), TYPE, most=5)["records"] == [
        {"record_id": "a.jpg", "bytes": b"\xff\xd8"},
        {"record_id": "b.jpg", "bytes": b"other"},
    ]
    assert form_document(form(OTHER, OTHER), TYPE, most=5)["records"] == [{"bytes": b"other"}] * 2


@pytest.mark.parametrize(
    ("body", "content_type", "status", "detail"),
    [
        (form(TASK), TYPE, 422, "the form has no file; send one, as curl -F file=@photo.jpg does"),
        (form(*[FILE] * 3), TYPE, 422, "3 files are more than the 2 of one request; send NDJSON"),
        (form(*[TASK] * 30), TYPE, 422, "the form has more than 18 parts; send NDJSON"),
        (form(FILE, end=False), TYPE, 400, "the form is cut off before its last boundary; send it whole"),
        (
            form(FILE),
            "multipart/form-data",
            400,
            "the form's Content-Type names no boundary; let your client write it",
        ),
        (
            form('Content-Disposition: form-data; name="note"; filename="a"\r\nContent-Type: text/plain|\xff'),
            TYPE,
            422,
            "/note: the file 'a' says text/plain and is no UTF-8 (invalid start byte at byte 0)",
        ),
        (
            form(FILE, f'Content-Disposition: form-data; name="task"|{"x" * 70_000}'),
            TYPE,
            422,
            "/task: a field has at most 65,536 bytes; send it as a file",
        ),
    ],
)
def test_what_is_wrong_with_a_form(body: bytes, content_type: str, status: int, detail: str) -> None:
    with pytest.raises(ProblemError) as caught:
        form_document(body, content_type, most=2)
    assert (caught.value.kind.status, caught.value.detail) == (status, detail)


def test_what_is_no_form_says_so() -> None:
    with pytest.raises(ProblemError, match="the body is no form, as its Content-Type says: "):
        form_document(b"hello", TYPE, most=2)
