"""A decision for one record says what the vectorised decision says of its row."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from test_routing_property import NAMES, asked, decisions, infos, table

from airflow_agentic.plan.columns import record_columns
from airflow_agentic.registry import ModelInfo
from airflow_agentic.routing.decide import Decider, Shard
from airflow_agentic.routing.decide_one import OneDecider, record_values
from airflow_agentic.routing.decision import All, Candidate, Case, Decision, Pick, Rules, Sample, To

COLUMNS = record_columns({"size": "int"})
WHEN = st.sampled_from(
    ["record.max_cost > 0.001", "record.size > 1", "has(record.task)", "record.position % 2 == 0", None]
)
LEAF = To(node="0.a")


@st.composite
def wider(draw: st.DrawFn) -> Decision:
    """Decisions that send a record to several places, or to none."""
    inner = decisions(0)
    kind = draw(st.sampled_from(["plain", "all", "sample", "match", "nested", "weighted"]))
    if kind == "all":
        return All(children=(draw(inner), Sample(fraction=0.5, seed=draw(st.integers(0, 3)), then=draw(inner))))
    if kind == "sample":
        return Sample(fraction=draw(st.sampled_from([0.0, 0.3, 1.0])), seed=1, then=draw(inner))
    if kind == "match":
        cases = tuple(Case(name=f"routes[{place}]", when=draw(WHEN), then=draw(inner)) for place in range(3))
        return Rules(cases=cases, default=draw(inner), match="all")
    if kind in {"nested", "weighted"}:
        first = Candidate(name="nested", then=All(children=(draw(inner), draw(inner))))
        second = Candidate(name="sampled", then=Sample(fraction=0.5, then=draw(inner)))
        last = Candidate(name="a", model="a", then=LEAF)
        some = tuple(draw(st.permutations([first, second, last])))
        weights = draw(st.dictionaries(st.sampled_from(["nested", "sampled", "a"]), st.sampled_from([0.0, 1.0, 2.5])))
        policies = ["weighted"] if kind == "weighted" else ["declared", "round-robin", "least-loaded"]
        policy: Any = draw(st.sampled_from(policies))
        return Pick(candidates=some, policy=policy, weights=weights, by_task=draw(st.booleans()), seed=2)
    return draw(inner)


@given(st.lists(asked, min_size=1, max_size=8), infos, wider(), st.sampled_from(["", "rule"]), st.booleans(), st.data())
def test_a_decision_is_that_of_the_shard(
    rows: list[dict[str, Any]],
    models: dict[str, ModelInfo],
    decision: Decision,
    rule: str,
    again: bool,
    data: st.DataObject,
) -> None:
    load = data.draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, 3)), "load")
    records, decider = table(rows), Decider(models, load=load)
    shard = decider.select(decision, Shard(records, COLUMNS), rule=rule, again=again).to_pylist()
    one = OneDecider(decider, COLUMNS)
    for row, record in enumerate(records.to_pylist()):
        found = one.select(decision, record, record_values(record, COLUMNS), rule=rule, again=again)
        expected = [entry for entry in shard if entry["row"] == row]
        assert [{"row": row, **selected._asdict()} for selected in found] == expected
