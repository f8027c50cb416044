from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airflow_agentic.artifacts import Marker, Markers, Store, digest
from airflow_agentic.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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


class DeadError(Exception):
    """The writer's process ends here."""


class Interrupted(Store):
    """A store in which something happens ahead of a writer's operations.

    :param events: what happens ahead of each write, create and read in turn; ``None`` is nothing.
    """

    def __init__(self, store: Store, events: Iterable[Callable[[], None] | None]) -> None:
        super().__init__(store._objects, store.base, store._prefix)
        self._events = iter(events)

    def _happen(self) -> None:
        event = next(self._events, None)
        if event is not None:
            event()

    def read(self, name: str) -> bytes:
        self._happen()
        return super().read(name)

    def write(self, name: str, data: bytes) -> None:
        self._happen()
        super().write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        self._happen()
        created = super().create(name, data)
        self._happen()
        return created


Address = tuple[str, int, str]
addresses = st.tuples(st.sampled_from(["infer", "gate"]), st.integers(0, 1), st.sampled_from(["k", "k2"]))


class ManyWriters(RuleBasedStateMachine):
    """Writers of the same shards whose steps interleave, and of which some die between two steps.

    A commit has up to four steps: write the data, create the marker, (it is there,) read that of who was first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store = Store.open("memory://")
        self.standing: dict[Address, Marker] = {}
        self.written = 0

    def commit(self, store: Store, address: Address) -> Marker:
        """One writer's commit of an answer that nobody else gives."""
        self.written += 1
        mine = self.written
        marker = Markers(store).commit(*address, pa.table({"row": range(mine)}), {"rows": mine})
        first = self.standing.setdefault(address, marker)
        assert marker == first
        return marker

    @rule(address=addresses)
    def one_commits(self, address: Address) -> None:
        self.commit(self.store, address)

    @rule(address=addresses, others=st.lists(st.none() | addresses, max_size=4))
    def others_commit_between_the_steps_of_one(self, address: Address, others: list[Address | None]) -> None:
        events = [other and (lambda other=other: self.commit(self.store, other)) for other in others]
        self.commit(Interrupted(self.store, events), address)

    @rule(address=addresses, step=st.integers(0, 3))
    def one_dies(self, address: Address, step: int) -> None:
        """Before the marker is created nothing is committed; after that, all of it is."""

        def die() -> None:
            raise DeadError

        mine, known = self.written + 1, address in self.standing
        try:
            self.commit(Interrupted(self.store, [None] * step + [die]), address)
        except DeadError:
            found = Markers(self.store).find(*address)
            assert (found is not None) == (known or step == 2)
            if found is not None and not known:
                assert found.data.rows == mine
                self.standing[address] = found

    @invariant()
    def readers_see_the_first_answer_of_each_and_nothing_else(self) -> None:
        markers = Markers(self.store)
        keys = {
            (node, shard, key)
            for node in ("infer", "gate")
            for shard, present in markers.keys(node).items()
            for key in present
        }
        assert keys == set(self.standing)
        for address, first in self.standing.items():
            marker = markers.find(*address)
            assert marker == first
            assert markers.read(first).column("row").to_pylist() == list(range(first.counts["rows"]))


TestManyWriters = ManyWriters.TestCase
TestManyWriters.settings = settings(stateful_step_count=12)
