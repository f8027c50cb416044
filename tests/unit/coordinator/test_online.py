"""What a request is answered by: few records, as a batch would be, and models asked side by side."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from builders import card, compiled
from executing import ALLOWED, CARDS, MOODS, World, comparable

from airflow_agentic import tables
from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.exceptions import ConditionError
from airflow_agentic.pipeline.inputs import inline_record, inline_records
from airflow_agentic.pipeline.plain import PlainRecords
from airflow_agentic.plan import Plan

CASCADE = {"cascade": ["a", "b"], "accept": "prediction.score >= 0.99"}


@pytest.fixture(params=[0, 3], ids=["batch", "few"])
def few(request: pytest.FixtureRequest) -> int:
    """How many records are few: none, or all of these tests'."""
    return int(request.param)


def coordinator(plan: Plan, world: World, few: int) -> Coordinator:
    pool = ModelPool(starter=world.start)
    return Coordinator(plan, pool=pool, allowed_handlers=ALLOWED, frozen=True, few=few)


class Together(World):
    """Models that go on once both are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2)

    def enter(self, name: str) -> None:
        self.both.wait(60)


async def test_members_of_an_ensemble_are_asked_side_by_side(few: int) -> None:
    owner = coordinator(compiled({"ensemble": ["a", "b"]}, *CARDS), Together(), few)
    (found,) = comparable(await owner.answer(inline_records(["text"])))
    assert found["model"] == "ensemble(a, b)"
    await owner.pool.close()


async def test_a_branch_goes_on_while_another_waits(few: int) -> None:
    world = World(held={"c": threading.Event()})
    owner = coordinator(compiled({"ensemble": [CASCADE, "c"]}, *CARDS), world, few)
    request = asyncio.create_task(owner.answer(inline_records(["text"])))
    async with asyncio.timeout(60):
        while not world.calls["b"]:
            await asyncio.sleep(0)
    assert not world.calls["c"]
    world.held["c"].set()
    (found,) = comparable(await request)
    assert [one["model"] for one in found["predictions"]] == ["a", "b", "c"]
    await owner.pool.close()


async def test_records_share_the_call_of_their_model(few: int) -> None:
    world = World()
    owner = coordinator(compiled(CASCADE, *CARDS), world, few)
    await owner.answer(inline_records(["one", "two", "three"]))
    assert world.calls == {"a": 1, "b": 1}
    assert world.seen["b"] == ["one", "two", "three"]
    await owner.pool.close()


async def test_a_bad_record_asks_nobody(few: int) -> None:
    world = World()
    owner = coordinator(compiled("a", *CARDS), world, few)
    (found,) = await owner.answer_few(inline_record({"id": "r", "text": 3}))
    assert found["error"]["code"] == "bad_record"
    assert (found["calls"], found["latency_ms"], found["predictions"]) == (0, None, [])
    assert not world.loads


async def test_plain_values_in_and_out(few: int) -> None:
    owner = coordinator(compiled(CASCADE, *CARDS), World(), few)
    answers = await owner.answer_few(inline_record({"text": "text", "size": 3}))
    whole = await owner.answer(inline_records([{"text": "text", "size": 3}]))
    assert [list(one) for one in answers] == [tables.ANSWER.names]
    assert comparable(tables.table(answers, tables.ANSWER)) == comparable(whole)
    await owner.pool.close()


async def test_no_record_at_all(few: int) -> None:
    owner = coordinator(compiled("a", *CARDS), World(), few)
    assert (await owner.answer(tables.RECORD.empty_table())).equals(tables.ANSWER.empty_table())
    assert await owner.answer_few(PlainRecords([], tables.RECORD)) == []


async def test_a_column_of_another_type_than_declared_is_refused(few: int) -> None:
    given = {"uri": "inbox", "features": {"size": "string"}}
    plan = compiled({"rules": [{"when": "record.size == '3'", "use": "a"}]}, *CARDS, input=given)
    owner = coordinator(plan, World(), few)
    message = r"^column 'record\.size' is of Arrow type int64, but is declared as string$"
    with pytest.raises(ConditionError, match=message):
        await owner.answer_few(inline_record({"text": "text", "size": 3}))


async def test_a_user_s_aggregation_takes_all_records_at_once(few: int) -> None:
    plan = compiled({"ensemble": ["a", "b"], "aggregate": {"handler": "test_online:counted"}}, *CARDS)
    pool = ModelPool(starter=World().start)
    owner = Coordinator(plan, pool=pool, allowed_handlers=["test_online"], frozen=True, few=few)
    for count in (1, 2):
        answers = await owner.answer(inline_records([f"text {place}" for place in range(count)]))
        assert answers.column("value").to_pylist() == [float(count)] * count
    await pool.close()


def counted(members: dict[str, Any]) -> Any:
    """An aggregation that answers with the number of rows it is given."""
    rows = len(next(iter(members.values())))
    return tables.table([{"value": float(rows)}] * rows, tables.RESULT)


async def test_steps_that_take_no_plain_values_are_applied_too(few: int) -> None:
    world = World()
    preprocess = ["normalize_text", {"truncate_text": {"chars": 7}}, "text_info"]
    use = {"rules": [{"when": "record.text_words > 1", "use": "a"}, {"use": "b"}]}
    owner = coordinator(compiled(use, *CARDS, preprocess=preprocess), world, few)
    answers = await owner.answer(inline_records(["plain   words", "o\u0308 words", "one"]))
    assert answers.column("model").to_pylist() == ["a", "a", "b"]
    assert world.seen == {"a": ["plain w", "\u00f6 words"], "b": ["one"]}
    await owner.pool.close()


async def test_a_model_is_given_the_feature_columns_of_steps(few: int) -> None:
    seen = []

    class Columns(World):
        def start(self, card: Any) -> Any:
            model = super().start(card)
            answer = model.predict

            def noted(batch: Any) -> Any:
                seen.append((batch.schema, batch.column("text_chars").to_pylist()))
                return answer(batch)

            model.predict = noted  # type: ignore[method-assign]  # the test's look at what it is given
            return model

    plan = compiled("m", card("m", classes=MOODS), preprocess=["text_info"])
    owner = coordinator(plan, Columns(), few)
    await owner.answer(inline_records([{"text": "four", "size": 1}]))
    ((schema, chars),) = seen
    assert schema.names == [*tables.RECORD.names, "size", "text_chars", "text_words"]
    assert chars == [4]
    await owner.pool.close()
