from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from airflow_agentic.artifacts import Markers, Store, digest
from airflow_agentic.exceptions import InputError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(inner) for inner in value] if isinstance(value, list) else value


@given(json_values)
def test_a_digest_survives_storage_and_the_order_of_keys(value: Any) -> None:
    assert digest(json.loads(json.dumps(value))) == digest(reversed_keys(value)) == digest(value)


@given(json_values, json_values)
def test_equal_digests_mean_the_same_json(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


ids = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["a/b", "a%2Fb", "a b", "a+b", "~", "a.", ".a"]
)


@given(ids, ids)
def test_every_id_is_a_folder_of_its_own(one: str, other: str) -> None:
    store = Store.open("memory://")
    try:
        store.child(one).write("x", one.encode())
        store.child(other).write("x", other.encode())
    except InputError:
        return
    assert store.child(one).read("x") == one.encode()
    assert store.child(other).list() == ["x"]
    assert len(store.list()) == len({one, other})


commits = st.lists(
    st.tuples(st.sampled_from(["a", "a.b", "a-1"]), st.integers(0, 3), st.sampled_from(["k", "k2"]), st.integers(0, 5)),
    max_size=25,
)


@given(commits)
def test_markers_are_a_map_that_keeps_the_first(history: list[tuple[str, int, str, int]]) -> None:
    markers = Markers(Store.open("memory://"))
    expected: dict[tuple[str, int, str], int] = {}
    for node, shard, key, rows in history:
        before = markers.find(node, shard, key)
        assert (before is None) == ((node, shard, key) not in expected)
        marker = markers.commit(node, shard, key, pa.table({"row": range(rows)}), {"rows": rows})
        assert before in (None, marker)
        assert marker.data.rows == expected.setdefault((node, shard, key), rows)
    for node in ("a", "a.b", "a-1"):
        keys = {(node, shard, key) for shard, present in markers.keys(node).items() for key in present}
        assert keys == {address for address in expected if address[0] == node}
    for address, rows in expected.items():
        marker = markers.find(*address)
        assert marker is not None
        assert markers.read(marker).column("row").to_pylist() == list(range(rows))
