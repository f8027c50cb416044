"""The coordinator: deadlines, quorum, retries, cancellation and what becomes of errors."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from builders import card, compiled
from executing import ALLOWED, CARDS, MOODS, World, comparable, coordinated, records, started

from airflow_agentic import tables
from airflow_agentic.coordinator import Coordinator, ModelPool
from airflow_agentic.coordinator.batch import answer_run
from airflow_agentic.exceptions import AnswersFailedError, ModelError, ModelLoadError, ModelUnavailableError
from airflow_agentic.execution.publish import publish
from airflow_agentic.pipeline.inputs import inline_records
from airflow_agentic.plan import Plan
from airflow_agentic.spec import ModelCard

VOTE = {"ensemble": ["a", "b", "c"], "quorum": 2}
TEXTS = inline_records([{"record_id": f"r{place}", "text": f"text {place}"} for place in range(3)])


def held(*names: str) -> Mapping[str, threading.Event]:
    return {name: threading.Event() for name in names}


@pytest.fixture(params=[0, 3], ids=["batch", "few"])
def few(request: pytest.FixtureRequest) -> int:
    """How many records are few: none, or all of these tests'."""
    return int(request.param)


def coordinator(few: int, plan: Plan, world: World, **options: Any) -> Coordinator:
    pool = options.pop("pool", None) or ModelPool(starter=world.start)
    return Coordinator(plan, pool=pool, allowed_handlers=ALLOWED, frozen=True, few=few, **options)


async def let_go(world: World, owner: Coordinator) -> None:
    for event in world.held.values():
        event.set()
    await owner.pool.close()


async def answered(few: int, plan: Plan, world: World, **options: Any) -> list[dict[str, Any]]:
    """The answers; models that hang go on afterwards."""
    owner = coordinator(few, plan, world)
    try:
        answers = await owner.answer(TEXTS, **options)
        assert answers.schema.equals(tables.ANSWER)
        return comparable(answers)
    finally:
        await let_go(world, owner)


def test_one_answer_a_record_in_order(few: int) -> None:
    answers = coordinated(compiled(VOTE, *CARDS), TEXTS, few=few)
    assert answers.column("record_id").to_pylist() == ["r0", "r1", "r2"]
    assert all(reason.endswith(" of 3 agree") for reason in (row["route"]["reason"] for row in answers.to_pylist()))


class TestDeadline:
    async def test_a_hanging_model_is_missing_and_the_quorum_decides(self, few: int) -> None:
        found = await answered(few, compiled(VOTE, *CARDS), World(held=held("c")), deadline=0.5)
        assert [row["model"] for row in found] == ["ensemble(a, b)"] * 3
        assert [[one["error"] for one in row["predictions"]] for row in found] == [
            [None, None, "model_unavailable"]
        ] * 3
        strict = compiled({**VOTE, "quorum": 3}, *CARDS)
        found = await answered(few, strict, World(held=held("c")), deadline=0.5)
        assert [row["error"] for row in found] == ["quorum_not_met"] * 3

    async def test_an_ensemble_s_own(self, few: int) -> None:
        plan = compiled({**VOTE, "deadline": 0.5}, *CARDS)
        found = await answered(few, plan, World(held=held("a")))
        assert [row["model"] for row in found] == ["ensemble(b, c)"] * 3

    async def test_the_workflow_s(self, few: int) -> None:
        found = await answered(few, compiled("a", *CARDS, deadline=0.05), World(held=held("a")))
        assert [row["error"] for row in found] == ["model_unavailable"] * 3

    async def test_a_hanging_stage_leaves_time_for_the_next(self, few: int) -> None:
        plan = compiled({"fallback": ["a", "b"]}, *CARDS)
        found = await answered(few, plan, World(held=held("a")), deadline=2.0)
        assert [row["model"] for row in found] == ["b"] * 3
        assert found[0]["route"]["reason"] == "always; a failed (model_unavailable); asked b"

    async def test_a_hanging_model_is_not_asked_twice(self, few: int) -> None:
        world = World(held=held("a"))
        await answered(few, compiled("a", *CARDS), world, deadline=0.05)
        assert world.loads["a"] == 1

    async def test_no_time_at_all(self, few: int) -> None:
        world = World()
        owner = coordinator(few, compiled("a", *CARDS, deadline=100.0), world)
        answers = await owner.answer(TEXTS, deadline=0.0)
        assert [row["error"]["message"] for row in answers.to_pylist()] == ["no time was left for 'a'"] * 3
        assert not world.loads

    async def test_shares_of_what_is_left(self, few: int) -> None:
        """With a clock of our own: two stages, each with half of what is left when it starts, and the last with all."""
        asked: list[float | None] = []

        class Pool(ModelPool):
            async def predict(self, card: ModelCard, records: pa.Table, *, timeout: float | None) -> pa.Table:
                asked.append(timeout)
                raise ModelLoadError(f"{card.name} is broken")

        owner = coordinator(few, compiled({"fallback": ["a", "b"]}, *CARDS), World(), pool=Pool(), clock=lambda: 5.0)
        await owner.answer(TEXTS, deadline=8.0)
        assert asked == [4.0, 8.0]


class TestRetry:
    async def test_a_model_that_died_is_tried_once_more(self, few: int) -> None:
        world = World()
        world.dying["a"] = 1
        found = await answered(few, compiled("a", *CARDS), world)
        assert [row["error"] for row in found] == [None] * 3
        assert (world.loads["a"], world.calls["a"]) == (2, 1)

    async def test_and_not_twice(self, few: int) -> None:
        world = World()
        world.dying["a"] = 2
        owner = coordinator(few, compiled("a", *CARDS), world)
        answers = await owner.answer(TEXTS)
        assert (
            answers.column("error").to_pylist()
            == [{"code": "model_unavailable", "message": "the process of model 'a' died", "retryable": True}] * 3
        )
        assert (world.loads["a"], world.dying["a"]) == (2, 0)
        await owner.pool.close()

    async def test_within_a_deadline_too(self, few: int) -> None:
        world = World()
        world.dying["a"] = 1
        found = await answered(few, compiled({"ensemble": ["a", "b"], "deadline": 30.0}, *CARDS), world, deadline=60.0)
        assert [row["model"] for row in found] == ["ensemble(a, b)"] * 3

    async def test_what_cannot_be_loaded_is_not_tried_again_and_says_why(self, few: int) -> None:
        tried = []

        def broken(model: ModelCard) -> Any:
            tried.append(model.name)
            raise ModelLoadError("runtime.artifact is no ONNX file")

        owner = coordinator(few, compiled("a", *CARDS), World(), pool=ModelPool(starter=broken))
        answers = await owner.answer(TEXTS)
        assert answers.column("error").to_pylist()[0] == {
            "code": "model_unavailable",
            "message": "runtime.artifact is no ONNX file",
            "retryable": False,
        }
        assert tried == ["a"]


class TestErrors:
    async def test_a_broken_aggregation_is_one_plain_error(self, few: int) -> None:
        plan = compiled({"ensemble": ["a", "b"], "aggregate": {"handler": "executing:one_row_too_few"}}, *CARDS)
        owner = coordinator(few, plan, World())
        with pytest.raises(ModelError) as caught:
            await owner.answer(TEXTS)
        assert str(caught.value) == (
            "the handler 'executing:one_row_too_few' returned 2 rows; an aggregation returns a RESULT table of 3 rows"
        )
        await owner.pool.close()

    async def test_cancelling_a_request(self, few: int) -> None:
        world = World(held=held("a"))
        owner = coordinator(few, compiled({"fallback": ["a", "b"]}, *CARDS), world)
        request = asyncio.create_task(owner.answer(TEXTS))
        async with asyncio.timeout(60):
            while not owner.pool.loaded:
                await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await let_go(world, owner)
        assert "b" not in world.loads

    def test_all_unhealthy(self, few: int) -> None:
        plan = compiled({"single": ["a", "b"]}, *CARDS)
        ill = {
            name: info.model_copy(update={"healthy": False, "why_unhealthy": "torch is not installed"})
            for name, info in plan.models.items()
        }
        world = World()
        answers = coordinated(plan.model_copy(update={"models": ill}), TEXTS, world, few=few)
        assert answers.column("error").to_pylist()[0] == {
            "code": "all_unhealthy",
            "message": "every candidate is unhealthy: always; not a is unhealthy (torch is not installed), "
            "b is unhealthy (torch is not installed)",
            "retryable": False,
        }
        assert not world.loads

    def test_a_snapshot_is_taken_unless_the_plan_is_frozen(self, tmp_path: Any) -> None:
        (tmp_path / "net.onnx").write_bytes(b"weights")
        runtime = {"framework": "onnx", "artifact": "net.onnx"}
        plan = compiled("net", card("net", folder=tmp_path, classes=MOODS, runtime=runtime, isolation="process"))
        (tmp_path / "net.onnx").unlink()
        assert not Coordinator(plan).plan.models["net"].healthy
        assert Coordinator(plan, frozen=True).plan.models["net"].healthy


async def test_least_loaded_looks_at_the_pool(few: int) -> None:
    world = World(held=held("a"))
    pool = ModelPool(starter=world.start)
    busy = asyncio.create_task(coordinator(few, compiled("a", *CARDS), world, pool=pool).answer(TEXTS))
    async with asyncio.timeout(60):
        while not pool.loaded:
            await asyncio.sleep(0)
    choice = coordinator(few, compiled({"single": ["a", "b"], "policy": "least-loaded"}, *CARDS), world, pool=pool)
    assert comparable(await choice.answer(TEXTS))[0]["model"] == "b"
    world.held["a"].set()
    await busy
    await pool.close()


class TestCompactBatch:
    def test_answered_shards_are_not_answered_again(self) -> None:
        run = started(compiled("b", *CARDS, shard={"rows": 7}), records())
        first = World()
        answer_run(run, pool=ModelPool(starter=first.start))
        again = World()
        reopened = run.folder.open(run.manifest)
        answer_run(reopened, pool=ModelPool(starter=again.start))
        assert (first.calls["b"], again.calls["b"]) == (2, 0)

    def test_it_resumes_after_the_last_committed_shard(self) -> None:
        run = started(compiled("b", *CARDS, shard={"rows": 7}), records())

        class Once(World):
            def start(self, card: ModelCard) -> Any:
                model = super().start(card)
                predict = model.predict

                def first_only(batch: pa.Table) -> pa.Table:
                    if self.calls["b"]:
                        raise MemoryError
                    return predict(batch)

                model.predict = first_only  # type: ignore[method-assign]  # the interruption
                return model

        with pytest.raises(MemoryError):
            answer_run(run, pool=ModelPool(starter=Once().start))
        world = World()
        answer_run(run.folder.open(run.manifest), pool=ModelPool(starter=world.start))
        assert len(world.seen["b"]) == 6  # of the second shard, whose bad record is not asked about

    @pytest.mark.parametrize("use", [VOTE, {"cascade": ["a", "b"], "accept": "prediction.score >= 0.01"}])
    def test_a_shard_that_lost_a_model_waits_for_the_last_try(self, use: Any) -> None:
        shard = records(8)
        plan = compiled(use, *CARDS)
        run = started(plan, shard)
        message = (
            r"^a model was unavailable in 1 of 1 shards \(first: 0\); the others are committed and will not run again$"
        )
        with pytest.raises(ModelUnavailableError, match=message):
            answer_run(run, pool=ModelPool(starter=World(lost=frozenset({"a"})).start), last_try=False)
        assert run.answered(run.shards[0]) is None, "without 'a' there are answers, but others"
        answer_run(run, pool=ModelPool(starter=World(dying=Counter({"a": 1})).start), last_try=False)
        assert [comparable(answers) for _, answers in run.answers()] == [comparable(coordinated(plan, shard))]

    def test_the_last_try_commits_what_can_be_answered_without_the_lost_model(self) -> None:
        run = started(compiled(VOTE, *CARDS), TEXTS)
        answer_run(run, pool=ModelPool(starter=World(lost=frozenset({"a"})).start))
        assert [set(answers.column("model").to_pylist()) for _, answers in run.answers()] == [{"ensemble(b, c)"}]

    def test_a_member_that_misses_the_ensembles_own_deadline_is_not_lost(self) -> None:
        run = started(compiled({**VOTE, "deadline": "100ms"}, *CARDS), TEXTS)
        world = World(held=held("a"))

        class LetGo(ModelPool):
            async def close(self) -> None:
                world.held["a"].set()
                await super().close()

        answer_run(run, pool=LetGo(starter=world.start), last_try=False)
        assert run.answered(run.shards[0]) is not None

    def test_a_killed_pool_commits_nothing_more(self) -> None:
        run = started(compiled(VOTE, *CARDS, shard={"rows": 1}), TEXTS)

        class Killing(World):
            def enter(self, name: str) -> None:
                if name == "a" and self.calls["a"]:
                    pool.kill()
                super().enter(name)

        pool = ModelPool(starter=Killing().start)
        with pytest.raises(ModelUnavailableError, match=r"^stopped before shard 1 was committed; a retry resumes$"):
            answer_run(run, pool=pool)
        assert [run.answered(shard) is not None for shard in run.shards] == [True, False, False]

    def test_editing_publish_or_on_error_answers_nothing_again(self) -> None:
        run = started(compiled("b", *CARDS, shard={"rows": 7}), records())
        answer_run(run, pool=ModelPool(starter=World().start))
        edited = compiled("b", *CARDS, shard={"rows": 7}, publish={"uri": "elsewhere/"}, on_error="fail")
        after = run.folder.start(edited, [records()], [{"uri": "test"}])
        world = World()
        answer_run(after, pool=ModelPool(starter=world.start))
        assert not world.loads
        with pytest.raises(AnswersFailedError):
            publish(after, "run", lambda uri: run.folder.store)
