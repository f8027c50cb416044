"""Files, folders, globs, stores and standard input as records."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_agentic import tables
from airflow_agentic.exceptions import InputError
from airflow_agentic.pipeline import formats
from airflow_agentic.pipeline.inputs import Input, fingerprint, read_records

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, uri: str, *, allowed_uris: Any = (), stdin: bytes | None = None, **options: Any) -> pa.Table:
    source = Input(uri=uri, base=folder, **options)
    stream = None if stdin is None else io.BytesIO(stdin)
    return pa.concat_tables(read_records(source, stdin=stream, allowed_uris=allowed_uris))


def inputs(table: pa.Table) -> list[Any]:
    """The content of every input."""
    return [row and (row["text"] or row["uri"] or row["data"]) for row in table.column("input").to_pylist()]


def messages(table: pa.Table) -> list[str | None]:
    return [error and error["message"] for error in table.column("error").to_pylist()]


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [
        b'\xef\xbb\xbf{"id": "a", "text": "one", "n": 1}',
        b"",
        b'"plain"',
        b'{"uri": "pic.jpg"}',
        b'{"uri": "../pic.jpg"}',
        b"{broken",
        b'{"text": "\xff"}',
        b'{"x": NaN}',
        b"[" * 100_000,
        b"[1]",
    ]
    (tmp_path / "in" / "data.jsonl").write_bytes(b"\r\n".join(lines))
    table = read(tmp_path, "in/data.jsonl")
    assert table.schema.names == [*tables.RECORD.names, "n"]
    assert table.column("position").to_pylist() == list(range(9))
    assert inputs(table)[:3] == ["one", "plain", f"{tmp_path}/in/pic.jpg"]
    assert messages(table) == [
        None,
        None,
        None,
        f"in/data.jsonl:5: the uri '{tmp_path}/pic.jpg' is outside of what may be read ({tmp_path}/in); "
        "add its prefix to allowed_uris",
        "in/data.jsonl:6: not valid JSON: Expecting property name enclosed in double quotes at column 2",
        "in/data.jsonl:7: not UTF-8 (byte 10); convert the file to UTF-8",
        "in/data.jsonl:8: not valid JSON: NaN is no JSON number; write null",
        "in/data.jsonl:9: not usable JSON: it is nested too deeply",
        "in/data.jsonl:10: a record is text or an object, found a list",
    ]


def test_an_overlong_line_is_one_bad_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_LINE", 20)
    (tmp_path / "a.txt").write_text("short\n" + "x" * 50 + "\nlast\n")
    table = read(tmp_path, "a.txt")
    assert inputs(table) == ["short", None, "last"]
    assert messages(table)[1] == "a.txt:2: the line is longer than 20 bytes; name large inputs by uri"


def test_json_holds_a_list_or_one_record(tmp_path: Path) -> None:
    (tmp_path / "many.json").write_text('[{"text": "a"},\n "b"]')
    (tmp_path / "one.json").write_text('{"text": "a"}')
    assert inputs(read(tmp_path, "many.json")) == ["a", "b"]
    assert inputs(read(tmp_path, "one.json")) == ["a"]
    (tmp_path / "bad.json").write_text("[1,\n2")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "bad.json")
    assert str(caught.value) == "bad.json: not valid JSON: Expecting ',' delimiter at line 2 column 2"


def test_csv_types_its_columns(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(
        'id,body,zip,n,rate,vip,note\n007,"a, ""b""\nc",01234,1,1.5,true,\n008,d,99999,,2,False,x\n'
    )
    table = read(tmp_path, "in.csv", columns={"body": "text"})
    assert table.column("record_id").to_pylist() == ["007", "008"]
    assert inputs(table) == ['a, "b"\nc', "d"]
    assert {name: table.column(name).to_pylist() for name in table.schema.names[len(tables.RECORD) :]} == {
        "zip": ["01234", "99999"],
        "n": [1, None],
        "rate": [1.5, 2.0],
        "vip": [True, False],
        "note": [None, "x"],
    }


def test_csv_rows_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "CSV_SAMPLE", 1)
    (tmp_path / "in.csv").write_bytes(b"text,n\na,1\nb\nc,x\n\xff,2\n\nd,3\n")
    table = read(tmp_path, "in.csv")
    assert inputs(table) == ["a", None, None, None, "d"]
    assert messages(table) == [
        None,
        "in.csv:3: the row has 1 fields and the header 2",
        "in.csv:4: the column 'n' is int64 in the first rows (or declared so) and holds 'x' here",
        "in.csv:5: not UTF-8 (or a line longer than 67,108,864 bytes); convert the file to UTF-8",
        None,
    ]


def test_a_csv_of_fields_is_tabular(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("age,job\n42,clerk\nNA,\n")
    table = read(tmp_path, "in.csv")
    assert inputs(table) == ['{"age":42,"job":"clerk"}', '{"age":null,"job":null}']


def test_declared_features_rule_a_csv(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("text,zip\na,12345\n")
    table = read(tmp_path, "in.csv", features={"zip": "string", "seen": "bool"})
    assert table.column("zip").to_pylist() == ["12345"]
    assert table.column("seen").to_pylist() == [None]


@pytest.mark.parametrize(
    ("header", "problem"), [("a,,b", "2 of the header has no name"), ("a,a", "2 of the header is the second 'a'")]
)
def test_a_csv_header_names_every_column_once(tmp_path: Path, header: str, problem: str) -> None:
    (tmp_path / "in.csv").write_text(f"{header}\n1,2,3\n")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "in.csv")
    assert str(caught.value) == f"in.csv:1: column {problem}; give each its own name"


def test_parquet_types_come_from_its_schema(tmp_path: Path) -> None:
    import datetime
    import decimal

    data = pa.table(
        {
            "text": ["a", "b"],
            "n": pa.array([None, 3], pa.int32()),
            "empty": pa.array([None, None], pa.float32()),
            "kind": pa.array(["x", "y"]).dictionary_encode(),
            "at": pa.array([1, None], pa.timestamp("ns")),
            "price": pa.array([decimal.Decimal("1.50"), None]),
            "day": pa.array([datetime.date(2024, 1, 2), None]),
        }
    )
    pq.write_table(data, tmp_path / "in.parquet")
    table = read(tmp_path, "in.parquet")
    assert inputs(table) == ["a", "b"]
    assert table.select(["n", "empty", "kind", "at", "price", "day"]).to_pydict() == {
        "n": [None, 3],
        "empty": [None, None],
        "kind": ["x", "y"],
        "at": ["1970-01-01 00:00:00.000000001", None],
        "price": [1.5, None],
        "day": ["2024-01-02", None],
    }
    assert table.schema.field("empty").type == pa.float64()


def test_parquet_carries_bytes_structs_and_tensors(tmp_path: Path) -> None:
    pq.write_table(pa.table({"bytes": [b"\x01", b"\x02"]}), tmp_path / "bytes.parquet")
    pq.write_table(pa.table({"input": [{"a": 1}, {"a": 2}]}), tmp_path / "struct.parquet")
    pq.write_table(pa.table({"input": [[1.0, 2.0], [3.0]]}), tmp_path / "tensor.parquet")
    assert inputs(read(tmp_path, "bytes.parquet")) == [b"\x01", b"\x02"]
    assert inputs(read(tmp_path, "struct.parquet")) == ['{"a":1}', '{"a":2}']
    assert inputs(read(tmp_path, "tensor.parquet")) == ["[1.0,2.0]", "[3.0]"]


@pytest.mark.parametrize(
    ("large", "small", "size"),
    [
        ("x" * 99, "a", 102),
        (b"x" * 99, b"a", 102),
        ([0.5] * 20, [0.5], 163),
        ([{"a": "long", "b": "words"}] * 20, [], 183),
        ([[0.5] * 5] * 4, [[0.5]], 163),
        ({"a": "x" * 60, "b": ["y"] * 40}, {"a": "x", "b": ["y"]}, 103),
    ],
    ids=["text", "bytes", "list", "texts", "lists", "struct"],
)
def test_a_parquet_row_that_holds_too_much_is_an_error_before_python_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: Any, small: Any, size: int
) -> None:
    monkeypatch.setattr(formats, "MAX_INPUT", 100)
    monkeypatch.setattr(formats, "CHUNK_BYTES", 100)
    name = "input" if not isinstance(large, str) else "text"
    pq.write_table(pa.table({"id": ["one", "two", "six"], name: [small, large, small]}), tmp_path / "in.parquet")
    table = read(tmp_path, "in.parquet")
    assert table.column("record_id").to_pylist() == ["one", "two", "six"]
    said = f"in.parquet:2: the record holds {size} bytes; at most 67,108,864 are taken: name large inputs by uri"
    assert messages(table) == [None, said, None]
    assert inputs(table)[1] is None


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"PAR1 no footer here")
    with pytest.raises(InputError, match=r"^in\.parquet cannot be read as Parquet \(.*\); write the file anew$"):
        read(tmp_path, "in.parquet")


def test_compressed_containers(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "in.jsonl.gz", "wb") as file:
        file.write(b'{"text": "a"}\n{"text": "b"}\n')
    assert inputs(read(tmp_path, "in.jsonl.gz")) == ["a", "b"]
    whole = (tmp_path / "in.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz cannot be read \(.*\); check the file and its permissions"):
        read(tmp_path, "cut.jsonl.gz")


def folder_of_files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.jpg").write_bytes(b"not opened")
    (folder / "a.txt").write_text("line 1\nline 2\n")
    (folder / "bad.txt").write_bytes(b"\xff")
    (folder / "sub" / "c.jsonl").write_text('{"uri": "c.png"}\n')
    (folder / "_SUCCESS").write_text("")
    (folder / ".hidden.txt").write_text("x")
    return folder


def test_a_folder_has_one_record_a_file(tmp_path: Path) -> None:
    folder = folder_of_files(tmp_path)
    table = read(tmp_path, "in")
    assert inputs(table) == ["line 1\nline 2\n", f"{folder}/b.jpg", None, f"{folder}/sub/c.png"]
    assert table.column("input").to_pylist()[1]["kind"] == "uri"
    assert str(messages(table)[2]).startswith("in/bad.txt:1: the file cannot be read as UTF-8 text (")


def test_ids_of_files_do_not_depend_on_where_the_folder_is(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first, second = folder_of_files(tmp_path / "one"), folder_of_files(tmp_path / "two")
    ids = [read(folder.parent, "in").column("record_id").to_pylist() for folder in (first, second)]
    assert ids[0] == ids[1]


def test_globs_and_single_files(tmp_path: Path) -> None:
    folder = folder_of_files(tmp_path)
    assert inputs(read(tmp_path, "in/*.jpg")) == [f"{folder}/b.jpg"]
    assert inputs(read(tmp_path, "in/**/*.jsonl")) == [f"{folder}/sub/c.png"]
    assert inputs(read(tmp_path, "in/b.jpg")) == [f"{folder}/b.jpg"]
    assert inputs(read(tmp_path, "in/a.txt")) == ["line 1", "line 2"]
    assert inputs(read(tmp_path, "in/a*.txt", format="text")) == ["line 1", "line 2"]
    assert inputs(read(tmp_path, str(folder / "a.txt"), format="files")) == ["line 1\nline 2\n"]
    (tmp_path / "odd[1].txt").write_text("literal")
    assert inputs(read(tmp_path, "odd[1].txt")) == ["literal"]


def test_the_limit_counts_records(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n3\n")
    assert inputs(read(tmp_path, "a.txt", limit=2)) == ["1", "2"]
    with pytest.raises(InputError) as caught:
        Input(uri="a.txt", limit=0)
    assert str(caught.value) == "the limit is 0; give a whole number from 1, or none"


def test_a_large_input_comes_in_chunks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x", "n": i}) + "\n" for i in range(20_000)))
    chunks = list(read_records(Input(uri="a.jsonl", base=tmp_path)))
    assert [len(chunk) for chunk in chunks] == [8192, 8192, 3616]
    assert pa.concat_tables(chunks).column("position").to_pylist() == list(range(20_000))


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b'\n{"text": "a"}\n', {}, ["a"]),
        (b'"a"\n', {}, ["a"]),
        (b"\nfirst\n\nsecond", {}, ["first", "second"]),
        (b'{"text": "a"}\n', {"format": "text"}, ['{"text": "a"}']),
        (b"text\na\n", {"format": "csv"}, ["a"]),
    ],
)
def test_standard_input(tmp_path: Path, content: bytes, options: Any, expected: list[str]) -> None:
    assert inputs(read(tmp_path, "-", stdin=content, **options)) == expected


def test_standard_input_refuses_what_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, "-", stdin=b"", format="parquet")
    assert str(caught.value) == (
        "standard input cannot be 'parquet'; write it to a file, or give jsonl, json, csv or text"
    )
    with pytest.raises(InputError) as caught:
        read(tmp_path, "-", stdin=b"")
    assert str(caught.value) == "the input '-' holds no record; check that it is the right one"
    with pytest.raises(InputError) as caught:
        fingerprint(Input(uri="-"))
    assert str(caught.value) == ("standard input cannot be read again by a later run; write it to a file and name that")


def test_inputs_that_are_not_there(tmp_path: Path) -> None:
    for name in ("no.jsonl", "no/*.jsonl"):
        with pytest.raises(InputError) as caught:
            read_records(Input(uri=name, base=tmp_path))
        assert str(caught.value) == (
            f"the input {name!r} does not exist (looked for {tmp_path}/{name}); relative paths start at {tmp_path}"
        )
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "empty.jsonl")
    assert str(caught.value) == "the input 'empty.jsonl' holds no record; check that it is the right one"


def test_a_scheme_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^the input 'nope://a' needs fsspec's library for its scheme \(.*nope.*\)"):
        read_records(Input(uri="nope://a", base=tmp_path))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"^the input 'gs://b/a' needs fsspec's library for its scheme \(.*gcsfs"):
        read_records(Input(uri="gs://b/a", base=tmp_path))


def test_a_file_that_goes_away_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    chunks = read_records(Input(uri="a.jsonl", base=tmp_path))
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        list(chunks)
    assert str(caught.value) == (
        f"{tmp_path}/a.jsonl cannot be read (No such file or directory); check the file and its permissions"
    )


def test_a_store_of_fsspec(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/in/a.jsonl", b'{"uri": "pics/a.jpg"}\n{"uri": "memory://other/a.jpg"}\n{"uri": "/etc/passwd"}')
    system.pipe("/bucket/in/b.txt", b"text")
    try:
        single = read(tmp_path, "memory://bucket/in/a.jsonl")
        assert inputs(single) == ["memory://bucket/in/pics/a.jpg", None, None]
        folder = read(tmp_path, "memory://bucket/in")
        assert inputs(folder)[3] == "text"
        entries = fingerprint(Input(uri="memory://bucket/in"))
        assert [entry["size"] for entry in entries] == [76, 4]
        assert all(set(entry) == {"uri", "size", "mtime"} for entry in entries)
    finally:
        system.rm("/bucket", recursive=True)


def test_the_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("{}")
        os.utime(tmp_path / name, (100, 100))
    source = Input(uri="*.jsonl", base=tmp_path)
    before = fingerprint(source)
    assert before == [
        {"uri": f"{tmp_path}/a.jsonl", "size": 2, "mtime": "100.0"},
        {"uri": f"{tmp_path}/b.jsonl", "size": 2, "mtime": "100.0"},
    ]
    os.utime(tmp_path / "a.jsonl", (100, 101))
    assert fingerprint(source) != before


def test_two_columns_for_one_field_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        Input(uri="a", columns={"a": "text", "b": "text"})
    assert str(caught.value) == "two columns mean the field 'text'; see columns"


def test_allowed_uris_must_be_uris(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError) as caught:
        read(tmp_path, "a.txt", allowed_uris=[""])
    assert str(caught.value) == "allowed_uris: the uri is empty; give a path or a URI"
