"""Wherever the record: erased, it is nowhere, the others stay, and the run can go on from any node."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from builders import compiled
from executing import ALLOWED, CARDS, World, comparable, records, worked
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from stored import written

from airflow_agentic.artifacts import Store
from airflow_agentic.coordinator import ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.execution import Folder, Run
from airflow_agentic.execution.erasure import erase
from airflow_agentic.execution.publish import publish
from airflow_agentic.pipeline.inputs import inline_records

USES: list[Any] = [
    "b",
    {"fallback": ["a", "b"]},
    {"cascade": ["a", "b", "c"], "accept": "prediction.score >= 0.5"},
    {"cascade": ["a", "b"], "accept": "record.tier == 'x' && prediction.score >= 0.3"},
    {"ensemble": ["a", "b", "c"], "quorum": 2},
    {"chain": ["a", {"use": "b", "input": "prediction.label"}]},
    {"chain": ["fields", {"use": "b", "input": "prediction.output.name"}]},
    {"rules": [{"when": "record.size < 5", "use": "a"}, {"use": {"fallback": ["c", "b"]}}]},
]
COUNT = 9


def table(place: int, secret: str, record_id: str | None, quoted: bool) -> pa.Table:
    """Records as other tests have them; that at ``place`` holds ``secret`` in its text and a column of its own."""
    rows: list[Any] = [
        {"record_id": f"r{one['position']}", "text": one["input"]["text"], "size": one["size"], "tier": one["tier"]}
        for one in records(COUNT).to_pylist()
        if one["input"] is not None
    ]
    place %= len(rows)
    rows[place] |= {"text": f"{secret}{' !a !b !c !fields' if quoted else ''}", "tier": secret, "note": secret}
    rows[place].pop("record_id")
    rows[place] |= {} if record_id is None else {"record_id": record_id}
    return inline_records(rows, features={"size": "int", "tier": "string", "note": "string"})


def answers_of(run: Run) -> list[dict[str, Any]]:
    own = run.folder.open(run.manifest)
    return comparable(pa.concat_tables([answers for _, answers in own.answers()]))


def clear(run: Run, node_id: str) -> None:
    """Delete what a node and all after it committed."""
    ids = [node.id for node in run.plan.nodes]
    for cleared in ids[ids.index(node_id) :]:
        for name in run.folder.store.list(cleared, recursive=False):
            run.folder.store.delete(name)


@settings(max_examples=40, deadline=None, database=None, phases=[Phase.generate])
@given(
    use=st.sampled_from(USES),
    place=st.integers(0, COUNT - 1),
    secret=st.text("bcdxyzäß", min_size=12, max_size=30).map("Zq7-{}-7qZ".format),
    with_id=st.booleans(),
    quoted=st.booleans(),
    rows=st.integers(1, COUNT),
    layout=st.sampled_from(["expanded", "compact"]),
    format_=st.sampled_from(["parquet", "jsonl"]),
    lost=st.booleans(),
    data=st.data(),
)
def test_an_erased_record_is_nowhere_and_the_others_stay(
    use: Any,
    place: int,
    secret: str,
    with_id: bool,
    quoted: bool,
    rows: int,
    layout: str,
    format_: str,
    lost: bool,
    data: st.DataObject,
) -> None:
    base = Store.open("memory://")
    plan = compiled(
        use,
        *CARDS,
        input={"uri": "x", "features": {"size": "int", "tier": "string", "note": "string"}},
        shard={"rows": rows},
        on_error="dead_letter",
        publish={"format": format_, "uri": "answers/"},
    )
    given_id = f"id-{secret}" if with_id else None
    records_in = table(place, secret, given_id, quoted)
    run = Folder.of(base, "test", "demo", "run", ALLOWED).start(plan, [records_in], [])
    if layout == "compact":
        answer_run(run, pool=ModelPool(starter=World().start), allowed_handlers=ALLOWED)
    else:
        first = plan.nodes[2].id
        worked(run, World(), lost=[(first, 0)] if lost else [])
    publish(run.folder.open(run.manifest), "run", Store.open)
    before = answers_of(run)
    hidden = next(row for row in records_in.to_pylist() if row["note"] == secret)
    record_id, position = hidden["record_id"], hidden["position"]
    assert record_id.encode() in written(base)

    (erased,) = erase(base, "test", record_id, Store.open)

    def check(allowed: set[str]) -> None:
        assert erased.unreached == ()
        looked = written(base)
        assert secret.encode() not in looked
        assert secret.encode("unicode_escape") not in looked, "JSON may escape it"
        assert record_id.encode() not in looked
        after = answers_of(run)
        assert after[position]["record_id"] == f"erased-{position}"
        assert after[position]["error"] in allowed
        assert after[:position] + after[position + 1 :] == before[:position] + before[position + 1 :]

    check({"erased"})
    assert list(erase(base, "test", record_id, Store.open)) == []
    if layout == "compact":
        clear(run, "aggregate")
        answer_run(run.folder.open(run.manifest), pool=ModelPool(starter=World().start), allowed_handlers=ALLOWED)
    else:
        clear(run, data.draw(st.sampled_from([node.id for node in plan.nodes[1:-1]]), label="cleared"))
        worked(run, World(), lost=[(first, 0)] if lost else [])
    publish(run.folder.open(run.manifest), "run", Store.open)
    check({"erased", "model_unavailable"} if lost else {"erased"})
