"""YAML with positions: what is read, what is refused, and where messages point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from airflow_agentic.exceptions import SpecError
from airflow_agentic.spec import source
from airflow_agentic.spec.source import Source, parse, read, render_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("True", "True"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("[]", []),
        ("007", 7),
        ("-3", -3),
        ("+3", 3),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("12:30", "12:30"),
        ("2026-01-02", "2026-01-02"),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("'1'", "1"),
        ("''", ""),
        ("'null'", "null"),
        ("|\n    two\n    lines\n", "two\nlines\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    data, _ = parse(f"key: {text}")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_positions_are_of_values_and_of_keys() -> None:
    data, found = parse("a: 1\nb:\n  c: [x, {d: 2}]\n'ä': ö\ne:\n")
    assert data == {"a": 1, "b": {"c": ["x", {"d": 2}]}, "ä": "ö", "e": None}
    assert found.values == {
        (): (1, 1),
        ("a",): (1, 4),
        ("b",): (3, 3),
        ("b", "c"): (3, 6),
        ("b", "c", 0): (3, 7),
        ("b", "c", 1): (3, 10),
        ("b", "c", 1, "d"): (3, 14),
        ("ä",): (4, 6),
        ("e",): (5, 1),
    }
    assert found.keys == {
        ("a",): (1, 1),
        ("b",): (2, 1),
        ("b", "c"): (3, 3),
        ("b", "c", 1, "d"): (3, 11),
        ("ä",): (4, 1),
        ("e",): (5, 1),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml  is empty"),
        ("# a comment\n", "f.yaml  is empty"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1  the key 'a' stands twice\n    keep one of them"),
        ("a: {b: 1, b: 2}", "f.yaml:1:11  the key 'b' stands twice\n    keep one of them"),
        ("1: a\n'1': b\n", "f.yaml:2:1  the key '1' stands twice\n    keep one of them"),
        ("x: &a 1\n", "f.yaml:1:4  anchors and aliases are not allowed\n    write the value out"),
        ("x: 1\ny: *a\n", "f.yaml:2:4  anchors and aliases are not allowed\n    write the value out"),
        (
            "when: !record.x\n",
            "f.yaml:1:7  the tag '!record.x' is not allowed\n    put the value in quotes if it is text",
        ),
        (
            "v: !!python/object:os.system {}\n",
            "f.yaml:1:4  the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed\n"
            "    put the value in quotes if it is text",
        ),
        ("[a, b]: 1\n", "f.yaml:1:1  a key must be text"),
        ("? {a: 1}\n: 2\n", "f.yaml:1:3  a key must be text"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1  a second document begins here\n    give each spec a file of its own"),
        ("a: \x07\n", "f.yaml:1:4  not valid YAML: the character '\\x07' is not allowed\n    remove it"),
        ("a: 1\nü\ud800: 1", "f.yaml:2:2  not valid YAML: the character '\\ud800' is not allowed\n    remove it"),
        ("n: " + "9" * 101, "f.yaml:1:4  a number of more than 100 digits is not allowed"),
        ("n: [1, -1e999]", "f.yaml:1:8  -1e999 is not a finite number"),
        ("[" * 41, "f.yaml:1:41  nested deeper than 40 levels"),
        ("a:\n" + "- " * 50 + "x", "f.yaml:2:79  nested deeper than 40 levels"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == message


@pytest.mark.skipif(not hasattr(yaml, "CSafeLoader"), reason="libyaml words its messages in its own way")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c\n", "f.yaml:1:5  not valid YAML: mapping values are not allowed in this context"),
        (
            "a: [1, 2\nb: 3\n",
            "f.yaml:2:2  not valid YAML: did not find expected ',' or ']' (while parsing a flow sequence)",
        ),
        (
            "a:\n\t- 1\n",
            "f.yaml:2:1  not valid YAML: found character that cannot start any token "
            "(while scanning for the next token)\n    indent with spaces, not tabs",
        ),
        ("a: 'it's'\n", "f.yaml:1:8  not valid YAML: did not find expected key (while parsing a block mapping)"),
    ],
)
def test_syntax_errors_point_at_the_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text, "f.yaml")
    assert str(caught.value) == message


def test_the_parser_without_libyaml_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: 1\nb:\n  c: [x, {d: no}]\n'ä': |\n  ö\ne:\n"
    data, found = parse(text)

    class Pure(yaml.SafeLoader):
        yaml_implicit_resolvers = source._Loader.yaml_implicit_resolvers

    monkeypatch.setattr(source, "_Loader", Pure)
    pure_data, pure_found = parse(text)
    assert pure_data == data
    assert (pure_found.values, pure_found.keys) == (found.values, found.keys)
    with pytest.raises(SpecError, match=r"^f.yaml:1:4  not valid YAML: the character '.x07' is not allowed"):
        parse("a: \x07", "f.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as missing:
        read(tmp_path / "no.yaml", shown="no.yaml")
    assert str(missing.value) == "no.yaml  cannot be read: No such file or directory"
    with pytest.raises(SpecError) as folder:
        read(tmp_path, shown="folder.yaml")
    assert str(folder.value) == "folder.yaml  cannot be read: Is a directory"
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Müller".encode("latin-1"))
    with pytest.raises(SpecError) as not_utf8:
        read(latin, shown="latin.yaml")
    assert str(not_utf8.value) == "latin.yaml  is not UTF-8 (byte 7)"
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * 1_000_001)
    with pytest.raises(SpecError) as too_big:
        read(big)
    assert str(too_big.value) == f"{big}  has 1,000,001 bytes; a spec has at most 1,000,000"


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_text("\ufeffa: 1\n", encoding="utf-8")
    data, found = read(path)
    assert data == {"a": 1}
    assert found.values[("a",)] == (1, 4)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), ""),
        (("a",), "a"),
        (("routes", 1, "use", "cascade", 0), "routes[1].use.cascade[0]"),
        ((0, "a"), "[0].a"),
    ],
)
def test_paths_read_as_users_write_them(path: tuple[str | int, ...], shown: str) -> None:
    assert render_path(path) == shown


def test_problems_leave_out_keys_that_only_a_validator_knows() -> None:
    _, found = parse("routes:\n  - use: {cascade: [a, b]}\n    accept: x\n", "f.yaml")
    inner = found.problem(("routes", 0, "use", "cascade", "members", 1, "model"), "is wrong")
    assert str(inner) == "f.yaml:2:24  routes[0].use.cascade[1]: is wrong"
    beside = found.problem(("routes", 0, "use", "accept"), "is wrong", "mend it")
    assert str(beside) == "f.yaml:3:13  routes[0].accept: is wrong\n    mend it"
    key = found.problem(("routes", 0, "accept"), "is wrong", at_key=True)
    assert str(key) == "f.yaml:3:5  routes[0].accept: is wrong"
    missing = found.missing(("routes", 0, "use", "shadow", "primary"))
    assert str(missing) == "f.yaml:2:10  routes[0].use.primary: is required"


def test_python_values_have_paths_without_places() -> None:
    found = Source().over({"routes": [{"use": {"cascade": ["a"]}, "accept": "x"}]})
    assert str(found.problem(("routes", 0, "use", "accept"), "is wrong")) == "<python>  routes[0].accept: is wrong"
    assert not found.in_file
    endless: list[object] = []
    endless.append(endless)
    assert len(Source().over(endless).values) < 100
