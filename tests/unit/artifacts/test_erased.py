"""Redirects: where they lie, what they say, and that they are followed."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from airflow_agentic.artifacts import Store
from airflow_agentic.artifacts.erased import chain_of, read_data, redirect_name, redirect_of, replace_data
from airflow_agentic.exceptions import ChecksumError


def table(*values: str) -> pa.Table:
    return pa.table({"text": list(values)})


def test_a_redirect_lies_beside_its_file_and_is_laid_out_for_people() -> None:
    assert redirect_name("n/data/abc.parquet") == "n/data/abc.erased.json"
    store = Store.open("memory://")
    data = store.write_table(table("a", "b"), "n/data")
    replace_data(store, data.name, table("a", ""))
    left = redirect_of(store, data.name)
    assert left is not None
    written = store.read(redirect_name(data.name)).decode("ascii")
    assert written.splitlines()[:3] == ["{", ' "schema": 1,', ' "data": {']
    assert json.loads(written) == {"schema": 1, "data": vars(left)}
    assert not store.exists(data.name)


def test_redirects_form_chains() -> None:
    store = Store.open("memory://")
    names = [store.write_table(table("a", "b", "c"), "n/data").name]
    first = redirect_of(store, names[0])
    assert (first, list(chain_of(store, names[0]))) == (None, names)
    for left in (table("a", "b", ""), table("a", "", "")):
        replace_data(store, names[-1], left)
        following = redirect_of(store, names[-1])
        assert following is not None
        names.append(following.name)
    assert list(chain_of(store, names[0])) == names
    assert [store.exists(name) for name in names] == [False, False, True]


def test_what_is_left_is_checked_as_the_file_was() -> None:
    store = Store.open("memory://")
    data = store.write_table(table("a", "b"), "n/data")
    replace_data(store, data.name, table("a", ""))
    left = redirect_of(store, data.name)
    assert left is not None
    assert read_data(store, data, "clear it").column("text").to_pylist() == ["a", ""]
    store.write(left.name, b"other")
    with pytest.raises(ChecksumError) as caught:
        read_data(store, data, "clear it")
    assert str(caught.value).startswith(f"memory:///{left.name}: expected SHA-256 {left.sha256}, found ")
    assert str(caught.value).endswith("; clear it")
