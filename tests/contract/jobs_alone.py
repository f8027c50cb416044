"""What every job store does, also one that a single process uses."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from jobbing import Clock, closing, completed, failed, new

from airflow_agentic.exceptions import JobKeyError, JobTooLargeError, KeyReusedError, LostJobError, UnknownJobError
from airflow_agentic.serving.jobs import Closure, Job, JobStore, Lease, SqlJobs
from airflow_agentic.serving.jobs.base import MAX_JSON, MAX_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_agentic.serving.jobs import Mode

ME = Lease(owner="me", seconds=30)
YOU = Lease(owner="you", seconds=30)
ABSENT = "0" * 32
MODES: Final[tuple[Mode, ...]] = ("async", "sync", "dag", "async")


class JobStoreContract:
    """What every store does. Subclasses give the fixture ``url``: of an empty database."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def store(self, url: str, clock: Clock) -> Iterator[JobStore]:
        with closing(SqlJobs.open(url, clock=clock, retention=timedelta(hours=1))) as store:
            yield store

    def test_a_job_is_kept_as_it_was_submitted(self, store: JobStore, clock: Clock) -> None:
        deadline = clock() + timedelta(seconds=7.25)
        request = {"records": [{"text": "näh\x00 \ud800"}], "n": [1, 2.5, None]}
        made = store.submit(replace(new(), request=request, deadline=deadline))

        assert (made.created, made.owned) == (True, False)
        assert made.job == store.job(made.job.id)
        assert made.job == Job(
            id=made.job.id,
            client="app",
            workflow="inbox",
            fingerprint="f",
            mode="async",
            state="submitted",
            created=clock(),
            updated=clock(),
            expires=clock() + timedelta(hours=1),
            deadline=deadline,
            request=request,
        )
        assert made.job.created.tzinfo is UTC

    def test_ids_are_unguessable(self, store: JobStore) -> None:
        ids = [store.submit(new()).job.id for _ in range(20)]
        assert len({*ids}) == len({name[:8] for name in ids}) == 20

    def test_a_lease_makes_the_caller_the_first_owner(self, store: JobStore, clock: Clock) -> None:
        made = store.submit(new(), lease=ME)

        assert (made.created, made.owned, made.job.state) == (True, True, "working")
        assert (made.job.owner, made.job.owner_epoch) == ("me", 1)
        assert made.job.leased_until == clock() + timedelta(seconds=30)

    @pytest.mark.parametrize("job_id", [ABSENT, "", "x\x00", "\ud800", "' OR 1=1"])
    def test_an_unknown_job_is_named(self, store: JobStore, job_id: str) -> None:
        asks: list[Any] = [
            store.job,
            store.cancel,
            lambda job_id: store.claim(job_id, ME),
            lambda job_id: store.renew(job_id, 1, 1),
            lambda job_id: store.note(job_id, 1, dag_run="d/r"),
            lambda job_id: store.close(job_id, completed(1), epoch=1),
        ]
        for ask in asks:
            with pytest.raises(UnknownJobError) as caught:
                ask(job_id)
            assert str(caught.value) == f"there is no job {job_id!r}; it never was, or it has expired"

    def test_one_owner_at_a_time(self, store: JobStore) -> None:
        job = store.submit(new()).job
        taken = store.claim(job.id, ME)

        assert taken is not None
        assert (taken.owner, taken.owner_epoch, taken.state) == ("me", 1, "working")
        assert store.claim(job.id, YOU) is None

    def test_a_lease_that_ended_is_for_another(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        clock.forward(29.999)
        assert store.claim(job.id, YOU) is None
        clock.forward(0.001)

        taken = store.claim(job.id, YOU)
        assert taken is not None
        assert (taken.owner, taken.owner_epoch) == ("you", 2)

    def test_a_lease_is_renewed_and_given_back(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        clock.forward(29)
        assert store.renew(job.id, 1, 30).leased_until == clock() + timedelta(seconds=30)
        clock.forward(29)
        assert store.claim(job.id, YOU) is None
        store.renew(job.id, 1, 0)
        assert store.claim(job.id, YOU) is not None

    def test_an_owner_that_was_late_hears_of_it(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        clock.forward(30)
        store.claim(job.id, YOU)

        message = f"the job {job.id} has the owner 'you' of epoch 2, and epoch 1 asks; stop working on it"
        for ask in (
            lambda: store.renew(job.id, 1, 30),
            lambda: store.note(job.id, 1, dag_run="d/r"),
            lambda: store.close(job.id, failed(), epoch=1),
        ):
            with pytest.raises(LostJobError) as caught:
                ask()
            assert str(caught.value) == message
        assert store.job(job.id).state == "working"
        assert store.job(job.id).dag_run is None

    def test_a_lease_that_ended_holds_while_nobody_else_wants_it(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        clock.forward(300)
        assert store.renew(job.id, 1, 30).owner == "me"

    def test_an_answer_is_taken_also_from_an_earlier_owner(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        clock.forward(30)
        store.claim(job.id, YOU)

        first = store.close(job.id, completed("mine"), epoch=1)
        second = store.close(job.id, completed("yours"), epoch=2)
        assert (first.won, second.won) == (True, False)
        assert first.job == second.job == store.job(job.id)
        assert first.job.result == "mine"

    def test_no_answer_is_taken_from_an_owner_that_never_was(self, store: JobStore) -> None:
        job = store.submit(new(), lease=ME).job
        with pytest.raises(LostJobError):
            store.close(job.id, completed(1), epoch=2)

    def test_a_closed_job_never_changes(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        closed = store.close(job.id, completed({"label": "cat"}), epoch=1).job
        clock.forward(60)

        assert closed.closed
        assert (closed.state, closed.result, closed.leased_until) == ("completed", {"label": "cat"}, None)
        assert not store.cancel(job.id).won
        assert not store.close(job.id, failed(), epoch=1).won
        assert store.claim(job.id, YOU) is None
        with pytest.raises(LostJobError, match=rf"\Athe job {job.id} is completed; stop working on it\Z"):
            store.renew(job.id, 1, 30)
        with pytest.raises(LostJobError, match=rf"\Athe job {job.id} is completed; stop working on it\Z"):
            store.note(job.id, 1, state="working")
        assert store.job(job.id) == closed

    def test_the_request_is_kept_until_the_end(self, store: JobStore) -> None:
        job = store.submit(replace(new(), request={"text": "a"}), lease=ME).job
        assert store.note(job.id, 1, dag_run="inbox/r").request == {"text": "a"}
        assert store.close(job.id, completed(1), epoch=1).job.request is None

    def test_a_failure_says_why(self, store: JobStore) -> None:
        problem = {"title": "no model", "status": 503}
        job = store.submit(new(), lease=ME).job
        closed = store.close(job.id, Closure(state="failed", error=problem), epoch=1).job
        assert (closed.state, closed.error, closed.result) == ("failed", problem, None)

    def test_a_job_that_nobody_began_can_be_rejected(self, store: JobStore) -> None:
        job = store.submit(new()).job
        closed = store.close(job.id, Closure(state="rejected", error={"title": "no"}), epoch=0)
        assert (closed.won, closed.job.state) == (True, "rejected")

    def test_cancelling_ends_it_for_its_owner(self, store: JobStore) -> None:
        job = store.submit(new(), lease=ME).job
        assert store.cancel(job.id).won
        assert not store.cancel(job.id).won
        with pytest.raises(LostJobError, match=rf"\Athe job {job.id} is canceled; stop working on it\Z"):
            store.renew(job.id, 1, 30)
        assert not store.close(job.id, completed("late"), epoch=1).won
        assert store.job(job.id).result is None

    def test_progress_is_noted(self, store: JobStore) -> None:
        job = store.submit(new(), lease=ME).job
        noted = store.note(job.id, 1, state="input-required", dag_run="inbox/r")
        again = store.note(job.id, 1, state="working")
        assert (noted.state, noted.dag_run) == ("input-required", "inbox/r")
        assert (again.state, again.dag_run) == ("working", "inbox/r")

    def test_free_jobs_are_taken_oldest_first(self, store: JobStore, clock: Clock) -> None:
        ids = []
        for mode in MODES:
            ids.append(store.submit(new(mode=mode)).job.id)
            clock.forward(1)
        held = store.submit(new(), lease=YOU).job

        assert [job.id for job in store.claim_free(ME, limit=2)] == [ids[0], ids[2]]
        assert [job.id for job in store.claim_free(ME, limit=9)] == [ids[3]]
        assert store.claim_free(ME, limit=9) == []
        clock.forward(30)
        assert {job.id for job in store.claim_free(YOU, limit=9)} == {ids[0], ids[2], ids[3], held.id}

    def test_what_waits_for_somebody_is_not_free(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(), lease=ME).job
        store.note(job.id, 1, state="input-required")
        clock.forward(60)
        assert store.claim_free(YOU, limit=9) == []
        assert store.claim(job.id, YOU) is not None

    def test_a_key_finds_its_job(self, store: JobStore) -> None:
        first = store.submit(new(), key="k", lease=ME)
        again = store.submit(new(), key="k", lease=YOU)
        assert (again.job, again.created, again.owned) == (first.job, False, False)

        store.close(first.job.id, completed("answer"), epoch=1)
        done = store.submit(new(), key="k", lease=YOU)
        assert (done.job.result, done.created, done.owned) == ("answer", False, False)

    def test_a_key_is_its_clients_own(self, store: JobStore) -> None:
        mine, yours = (store.submit(replace(new(), client=name), key="k") for name in ("app", "other"))
        assert (mine.created, yours.created) == (True, True)
        assert mine.job.id != yours.job.id

    def test_a_key_for_another_request_is_refused(self, store: JobStore) -> None:
        store.submit(new(), key="k")
        with pytest.raises(KeyReusedError) as caught:
            store.submit(replace(new(), fingerprint="g"), key="k")
        assert str(caught.value) == (
            "the idempotency key 'k' stands for another request, made at 2026-01-02T03:04:05Z; "
            "repeat that one exactly, or use a new key"
        )

    def test_a_key_of_a_dead_owner_is_for_who_asks_again(self, store: JobStore, clock: Clock) -> None:
        first = store.submit(new(mode="sync"), key="k", lease=ME).job
        clock.forward(30)
        assert not store.submit(new(mode="sync"), key="k").owned
        again = store.submit(new(mode="sync"), key="k", lease=YOU)
        assert (again.created, again.owned) == (False, True)
        assert (again.job.id, again.job.owner_epoch) == (first.id, 2)

    def test_a_released_key_asks_anew(self, store: JobStore) -> None:
        first = store.submit(new(), key="k", lease=ME).job
        store.close(first.id, replace(failed(), release_key=True), epoch=1)
        again = store.submit(new(), key="k", lease=ME)
        assert again.created
        assert store.job(first.id).state == "failed"

    def test_a_key_expires_with_its_answer(self, store: JobStore, clock: Clock) -> None:
        first = store.submit(new(), key="k", lease=ME).job
        store.close(first.id, completed(1), epoch=1)
        clock.forward(3599)
        assert not store.submit(replace(new()), key="k").created
        clock.forward(1)
        assert store.submit(replace(new(), fingerprint="g"), key="k").created

    @pytest.mark.parametrize("key", ["", "k" * (MAX_KEY + 1), "ä", "a\nb", " a", "a\x00"])
    def test_what_is_no_key_is_refused(self, store: JobStore, key: str) -> None:
        with pytest.raises(JobKeyError) as caught:
            store.submit(new(), key=key)
        assert str(caught.value) == (
            f"the idempotency key {key[:40]!r} has {len(key)} characters; give 1 to 255 printable ASCII characters "
            "without a space at either end, as a UUID"
        )

    def test_the_longest_key_is_one(self, store: JobStore) -> None:
        key = "k" * MAX_KEY
        assert store.submit(new(), key=key).job == store.submit(new(), key=key).job

    def test_what_is_too_large_is_refused(self, store: JobStore) -> None:
        job = store.submit(replace(new(), request="x" * (MAX_JSON - 2)), lease=ME).job
        for what, ask in (
            ("request", lambda: store.submit(replace(new(), request="x" * (MAX_JSON - 1)))),
            ("result", lambda: store.close(job.id, completed("x" * (MAX_JSON - 1)), epoch=1)),
        ):
            with pytest.raises(JobTooLargeError) as caught:
                ask()
            assert str(caught.value) == (
                f"the job's {what} has 4,194,305 bytes as JSON, and the job store keeps at most 4,194,304: "
                "write it to a file or an object, and give its URI"
            )
        assert store.job(job.id).state == "working"

    def test_expired_jobs_are_swept(self, store: JobStore, clock: Clock) -> None:
        closed = store.submit(new(), lease=ME).job
        store.close(closed.id, completed(1), epoch=1)
        clock.forward(1)
        later = store.submit(new(), lease=ME).job
        store.close(later.id, completed(1), epoch=1)
        abandoned = store.submit(new(mode="sync"), lease=ME).job
        waiting = store.submit(new()).job
        clock.forward(3599)

        assert store.sweep() == 1
        with pytest.raises(UnknownJobError):
            store.job(closed.id)
        assert store.job(later.id).result == 1
        clock.forward(1)
        assert store.sweep() == 2
        with pytest.raises(UnknownJobError):
            store.job(abandoned.id)
        assert [job.id for job in store.claim_free(ME, limit=9)] == [waiting.id]

    def test_a_job_under_way_does_not_expire(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new(mode="sync"), lease=ME).job
        clock.forward(3599)
        store.renew(job.id, 1, 30)
        clock.forward(3599)
        assert store.sweep() == 0

    def test_of_many_threads_one_gets_the_job_and_one_closes_it(self, store: JobStore, clock: Clock) -> None:
        job = store.submit(new()).job
        barrier = threading.Barrier(8)

        def work(number: int) -> tuple[bool, bool]:
            barrier.wait()
            taken = store.claim(job.id, Lease(owner=f"w{number}", seconds=0))
            epoch = 1 if taken is None else taken.owner_epoch
            return taken is not None, store.close(job.id, completed(number), epoch=epoch).won

        with ThreadPoolExecutor(8) as pool:
            worked = list(pool.map(work, range(8)))
        assert [won for _, won in worked].count(True) == 1
        assert store.job(job.id).result == [won for _, won in worked].index(True)

    def test_of_many_threads_one_makes_the_keys_job(self, store: JobStore) -> None:
        barrier = threading.Barrier(8)

        def submit(number: int) -> tuple[bool, str]:
            barrier.wait()
            made = store.submit(new(), key="k", lease=Lease(owner=f"w{number}", seconds=30))
            assert made.owned is made.created
            return made.created, made.job.id

        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(submit, range(8)))
        assert [created for created, _ in made].count(True) == 1
        assert len({job_id for _, job_id in made}) == 1

    def test_it_can_be_checked(self, store: JobStore) -> None:
        store.check()
