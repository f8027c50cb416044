"""Which URIs a record may name."""

from __future__ import annotations

import pytest

from airflow_agentic.exceptions import RecordError
from airflow_agentic.pipeline.uris import AllowedUris, resolve


@pytest.mark.parametrize(
    ("uri", "folder", "expected"),
    [
        ("a.jpg", "/data", "/data/a.jpg"),
        ("./b/../a.jpg", "/data", "/data/a.jpg"),
        ("/x/../y/a.jpg", None, "/y/a.jpg"),
        ("//y/a.jpg", None, "/y/a.jpg"),
        ("file:///data/a%20b.jpg", None, "/data/a b.jpg"),
        ("FILE://localhost/data/%2e%2e/a.jpg", None, "/a.jpg"),
        ("a.jpg", "s3://bucket/in", "s3://bucket/in/a.jpg"),
        ("../a.jpg", "s3://bucket/in", "s3://bucket/a.jpg"),
        ("S3://Bucket/in/a.jpg", "/data", "s3://Bucket/in/a.jpg"),
        ("https://host/a.jpg?size=1", None, "https://host/a.jpg?size=1"),
    ],
)
def test_uris_become_absolute(uri: str, folder: str | None, expected: str) -> None:
    assert resolve(uri, folder) == expected


@pytest.mark.parametrize(
    ("uri", "folder", "message"),
    [
        (" ", "/data", "the uri is empty; give a path or a URI"),
        ("a.jpg", None, "the uri 'a.jpg' is relative and there is no folder to start from here"),
        ("a\x00.jpg", "/data", "the uri 'a\\x00.jpg' holds a control character or '::'; give a plain path or URI"),
        (
            "simplecache::file:///etc/passwd",
            "/data",
            "the uri 'simplecache::file:///etc/passwd' holds a control character or '::'; give a plain path or URI",
        ),
        (
            "file://other/etc/passwd",
            "/data",
            "the uri 'file://other/etc/passwd' is no file of this machine; write file:///absolute/path",
        ),
        (
            "https://host/a/%2e%2e/b",
            None,
            "the uri 'https://host/a/%2e%2e/b' holds '..'; write the path without it",
        ),
        ("s3://bucket/in/../b", None, "the uri 's3://bucket/in/../b' holds '..'; write the path without it"),
        ("../../../x", "s3://bucket/in", "the uri '../../../x' leads out of s3://bucket/in; write the whole URI"),
    ],
)
def test_forms_that_are_refused(uri: str, folder: str | None, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        resolve(uri, folder)
    assert (caught.value.code, str(caught.value)) == ("bad_record", message)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("/data/in/a.jpg", True),
        ("/data/in", True),
        ("/data/input/a.jpg", False),
        ("/etc/passwd", False),
        ("https://host.example/x/a", True),
        ("https://host.example.evil/x/a", False),
        ("https://host.example/xy", False),
        ("http://host.example/x/a", False),
    ],
)
def test_prefixes_cover_whole_segments(uri: str, allowed: bool) -> None:
    rule = AllowedUris.under("/data/in", ["https://host.example/x"])
    if allowed:
        assert rule.check(uri) == uri
        return
    with pytest.raises(RecordError) as caught:
        rule.check(uri)
    assert caught.value.code == "uri_not_allowed"
    assert str(caught.value) == (
        f"the uri {uri!r} is outside of what may be read (/data/in, https://host.example/x); "
        "add its prefix to allowed_uris"
    )


def test_none_restricts_nothing_and_an_empty_list_with_no_folder_everything() -> None:
    assert AllowedUris.under("/data", None).check("/etc/hosts") == "/etc/hosts"
    with pytest.raises(RecordError, match="nothing"):
        AllowedUris.under(None, []).check("/data/a")
