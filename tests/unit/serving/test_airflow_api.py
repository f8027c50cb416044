"""The client of Airflow's REST API, against an Airflow that this test plays."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_agentic.exceptions import (
    AccessSettingsError,
    AirflowApiError,
    AirflowRefusedError,
    AirflowUnavailableError,
    InputError,
)
from airflow_agentic.serving.airflow_api import AirflowApi, AirflowLogin, conf_of, run_id_of
from scripts.airflow_server import free_port

if TYPE_CHECKING:
    from pathlib import Path

DAG: Final = "inbox"
RUN: Final = run_id_of("ab" * 16)


@dataclass
class FakeAirflow:
    """One Dag, its runs, and a token."""

    token: str = "t1"
    paused: bool = False
    states: list[str] = field(default_factory=lambda: ["running", "success"])
    """Of a run: each look takes one off, the last stays."""
    runs: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    streams: bool = True
    answer: tuple[int, str] | None = None
    """Instead of all others."""
    refusal: int = 401
    """Of a wrong token."""
    logins: int = 0

    @property
    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        run = "/api/v2/dags/{dag}/dagRuns/{run}"
        app.add_routes(
            [
                web.post("/auth/token", self._login),
                web.get("/api/v2/version", self._version),
                web.get("/api/v2/dags", self._version),
                web.get("/api/v2/dags/{dag}", self._dag),
                web.post("/api/v2/dags/{dag}/dagRuns", self._trigger),
                web.get(run, self._run),
                web.patch(run, self._patch),
                web.get(f"{run}/wait", self._wait),
                web.get(f"{run}/taskInstances", self._tasks),
            ]
        )
        return app

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path != "/auth/token" and request.headers.get("Authorization") != f"Bearer {self.token}":
            detail = {401: "Token Expired", 403: "Invalid JWT token"}[self.refusal]
            return web.json_response({"detail": detail}, status=self.refusal)
        if self.answer is not None:
            return web.Response(status=self.answer[0], text=self.answer[1])
        return await handler(request)

    async def _login(self, request: web.Request) -> web.Response:
        self.logins += 1
        if (await request.json()) != {"username": "me", "password": "right"}:
            return web.json_response({"detail": "Invalid credentials"}, status=401)
        self.token = f"login-{self.logins}"
        return web.json_response({"access_token": self.token}, status=201)

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "3.3.2"})

    async def _dag(self, request: web.Request) -> web.Response:
        if request.match_info["dag"] != DAG:
            return web.json_response(
                {"detail": f"The Dag with ID: `{request.match_info['dag']}` was not found"}, status=404
            )
        return web.json_response({"dag_id": DAG, "is_paused": self.paused})

    async def _trigger(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["dag_run_id"] in self.runs:
            return web.json_response({"detail": {"reason": "Unique constraint violation"}}, status=409)
        self.runs[body["dag_run_id"]] = body["conf"]
        return self._shown(body["dag_run_id"], "queued")

    def _shown(self, run_id: str, state: str) -> web.Response:
        return web.json_response({"dag_id": DAG, "dag_run_id": run_id, "state": state, "conf": self.runs[run_id]})

    def _next(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    async def _run(self, request: web.Request) -> web.Response:
        run_id = request.match_info["run"]
        if run_id not in self.runs:
            return web.json_response({"detail": f"The DagRun `{run_id}` was not found"}, status=404)
        return self._shown(run_id, self._next())

    async def _patch(self, request: web.Request) -> web.Response:
        self.states = [(await request.json())["state"]]
        return self._shown(request.match_info["run"], self.states[0])

    async def _wait(self, request: web.Request) -> web.StreamResponse:
        if not self.streams:
            return web.json_response({"detail": "Not Found"}, status=404)
        stream = web.StreamResponse()
        await stream.prepare(request)
        state = ""
        while state not in ("success", "failed"):
            state = self._next()
            await stream.write(json.dumps({"state": state}).encode() + b"\n")
        return stream

    async def _tasks(self, request: web.Request) -> web.Response:
        assert dict(request.query) == {"state": "failed", "limit": "100"}
        found = [{"task_id": "b", "map_index": 1}, {"task_id": "b", "map_index": 0}, {"task_id": "a"}]
        return web.json_response({"task_instances": found})


@pytest.fixture
async def airflow() -> FakeAirflow:
    return FakeAirflow()


@asynccontextmanager
async def connected(airflow: FakeAirflow, **login: Any) -> AsyncIterator[AirflowApi]:
    """A client of it; by the token ``t1`` unless ``login`` says otherwise."""
    async with TestServer(airflow.app, host="127.0.0.1") as server:
        api = AirflowApi(AirflowLogin(url=str(server.make_url("/")), **(login or {"token": "t1"})), interval=0.01)
        try:
            yield api
        finally:
            await api.close()


def base(api: AirflowApi) -> str:
    return api._base


async def test_a_run_is_triggered_waited_for_and_shown(airflow: FakeAirflow) -> None:
    conf = conf_of(["a", {"text": "b"}], task="text-analysis")
    async with connected(airflow) as api:
        made = await api.trigger(DAG, RUN, conf)
        ended = await api.wait(DAG, RUN, timeout=60)

    assert airflow.runs == {RUN: {"records": ["a", {"text": "b"}], "task": "text-analysis"}}
    assert (made.run_id, made.state, made.finished) == (RUN, "queued", False)
    assert (ended.state, ended.finished) == ("success", True)
    assert ended.url == f"{base(api)}/dags/inbox/runs/gateway-{'ab' * 16}"


async def test_a_retry_finds_the_run_that_is_there(airflow: FakeAirflow) -> None:
    async with connected(airflow) as api:
        await api.trigger(DAG, RUN, conf_of(["a"]))
        again = await api.trigger(DAG, RUN, conf_of(["a"]))
        assert (again.run_id, again.state) == (RUN, "running")
        with pytest.raises(AirflowRefusedError) as caught:
            await api.trigger(DAG, RUN, conf_of(["b"]))
    assert str(caught.value) == (
        f"the Dag 'inbox' has a run {RUN!r} already, which answers other records; use another id"
    )
    assert caught.value.status == 409


async def test_a_paused_dag_is_not_triggered(airflow: FakeAirflow) -> None:
    airflow.paused = True
    async with connected(airflow) as api:
        with pytest.raises(AirflowRefusedError) as caught:
            await api.trigger(DAG, RUN, conf_of(["a"]))
    assert str(caught.value) == (
        "the Dag 'inbox' is paused, so that its runs would wait for ever; "
        "unpause it: airflow dags unpause inbox, or in Airflow's UI"
    )
    assert airflow.runs == {}


async def test_waiting_does_without_the_experimental_route(airflow: FakeAirflow) -> None:
    airflow.streams = False
    airflow.states = ["queued", "running", "running", "failed"]
    async with connected(airflow) as api:
        await api.trigger(DAG, RUN, conf_of(["a"]))
        assert (await api.wait(DAG, RUN, timeout=60)).state == "failed"


async def test_waiting_ends_with_its_time(airflow: FakeAirflow) -> None:
    airflow.states = ["running"]
    airflow.streams = False
    async with connected(airflow) as api:
        await api.trigger(DAG, RUN, conf_of(["a"]))
        for timeout in (0, 0.05):
            assert (await api.wait(DAG, RUN, timeout=timeout)).state == "running"


async def test_waiting_outlasts_an_airflow_that_fails_for_a_while(airflow: FakeAirflow) -> None:
    async with connected(airflow) as api:
        await api.trigger(DAG, RUN, conf_of(["a"]))
        airflow.answer = (503, "busy")
        with pytest.raises(AirflowUnavailableError):
            await api.wait(DAG, RUN, timeout=0)

        original = api.run

        async def recovering(dag_id: str, run_id: str) -> Any:
            try:
                return await original(dag_id, run_id)
            finally:
                airflow.answer = None

        api.run = recovering  # type: ignore[method-assign]  # it recovers after the first look
        assert (await api.wait(DAG, RUN, timeout=60)).state == "success"


async def test_cancelling_fails_the_run_once(airflow: FakeAirflow) -> None:
    airflow.states = ["running"]
    async with connected(airflow) as api:
        await api.trigger(DAG, RUN, conf_of(["a"]))
        assert (await api.cancel(DAG, RUN)).state == "failed"
        assert (await api.cancel(DAG, RUN)).state == "failed"
    assert [one for one in airflow.asked if one.startswith("PATCH")] == [f"PATCH /api/v2/dags/inbox/dagRuns/{RUN}"]


async def test_failed_tasks_are_named_once_each(airflow: FakeAirflow) -> None:
    async with connected(airflow) as api:
        assert await api.failed_tasks(DAG, RUN) == ["a", "b"]


@pytest.mark.parametrize("refusal", [401, 403])
async def test_user_and_password_are_exchanged_and_again_when_the_token_ends(
    airflow: FakeAirflow, refusal: int
) -> None:
    airflow.refusal = refusal
    async with connected(airflow, user="me", password="right") as api:
        assert await api.check() == "3.3.2"
        await api.check()
        assert airflow.logins == 1
        airflow.token = "changed"
        assert await api.check() == "3.3.2"
    assert airflow.logins == 2


async def test_a_wrong_password_is_said(airflow: FakeAirflow) -> None:
    async with connected(airflow, user="me", password="wrong") as api:
        with pytest.raises(AirflowRefusedError) as caught:
            await api.check()
    assert str(caught.value) == f"Airflow at {base(api)} does not accept user 'me' and password; mend them"


async def test_a_token_file_is_read_again_when_its_token_ends(airflow: FakeAirflow, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("t1\n")
    async with connected(airflow, token_file=path) as api:
        await api.check()
        airflow.token = "t2"
        with pytest.raises(AirflowRefusedError) as caught:
            await api.check()
        assert str(caught.value) == (
            f"Airflow at {base(api)} does not accept the token; write a new one to {str(path)!r}"
        )
        path.write_text("t2\n")
        assert await api.check() == "3.3.2"
        path.unlink()
        airflow.token = "t3"
        with pytest.raises(AirflowApiError) as unread:
            await api.check()
    assert str(unread.value) == (
        f"the file {str(path)!r} with Airflow's token cannot be read "
        f"([Errno 2] No such file or directory: {str(path)!r}); check its path and mode"
    )


async def test_a_token_that_ended_is_said(airflow: FakeAirflow) -> None:
    async with connected(airflow, token="old") as api:
        with pytest.raises(AirflowRefusedError) as caught:
            await api.check()
    assert str(caught.value) == (
        f"Airflow at {base(api)} does not accept the token; "
        "it may have expired: set a new one, or give user and password, which are renewed"
    )


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (
            (403, '{"detail": "Forbidden"}'),
            AirflowRefusedError,
            "refuses to read the Dag 'inbox': 403 Forbidden; give the login's role the right to do so",
        ),
        (
            (400, '{"detail": "Invalid input for param records"}'),
            AirflowRefusedError,
            "refuses to read the Dag 'inbox': 400 Invalid input for param records; mend the request",
        ),
        (
            (422, '{"detail": [{"loc": ["body"], "msg": "Field required"}, {"msg": "Extra"}]}'),
            AirflowRefusedError,
            "refuses to read the Dag 'inbox': 422 Field required; Extra; mend the request",
        ),
        (
            (302, "moved"),
            AirflowRefusedError,
            "refuses to read the Dag 'inbox': 302 moved; set the URL that it redirects to",
        ),
        (
            (404, "no\n such  page"),
            AirflowRefusedError,
            "refuses to read the Dag 'inbox': 404 no such page; "
            "check the name, and that Airflow has parsed the Dag file",
        ),
        (
            (500, "Internal Server Error"),
            AirflowUnavailableError,
            "could not read the Dag 'inbox': 500 Internal Server Error; ask again, and see its API server's log",
        ),
        (
            (429, "slow down"),
            AirflowUnavailableError,
            "could not read the Dag 'inbox': 429 slow down; ask again, and see its API server's log",
        ),
    ],
)
async def test_what_airflow_refuses_is_said_with_the_way_out(
    airflow: FakeAirflow, answer: tuple[int, str], kind: type[AirflowApiError], message: str
) -> None:
    airflow.answer = answer
    async with connected(airflow) as api:
        with pytest.raises(kind) as caught:
            await api.trigger(DAG, RUN, conf_of(["a"]))
    assert str(caught.value) == f"Airflow at {base(api)} {message}"
    assert caught.value.status == answer[0]
    assert caught.value.retryable is (kind is AirflowUnavailableError)


@pytest.mark.parametrize("text", ["<html>", "[]"])
async def test_another_server_is_told_from_airflow(airflow: FakeAirflow, text: str) -> None:
    airflow.answer = (200, text)
    async with connected(airflow) as api:
        with pytest.raises(AirflowRefusedError) as caught:
            await api.check()
    assert str(caught.value) == (
        f"{base(api)} answers, but not as Airflow's REST API does; give the URL of Airflow 3's API server"
    )


async def test_an_airflow_that_is_away_can_be_asked_again() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    api = AirflowApi(AirflowLogin(url=url, token="t"))
    with pytest.raises(AirflowUnavailableError) as caught:
        await api.run(DAG, RUN)
    await api.close()
    message = str(caught.value)
    assert message.startswith(f"Airflow at {url} gives no answer (Cannot connect to host 127.0.0.1:")
    assert message.endswith("); check that its API server runs and can be reached")
    assert caught.value.status is None


async def test_ids_are_quoted(airflow: FakeAirflow) -> None:
    async with connected(airflow) as api:
        with pytest.raises(AirflowRefusedError):
            await api.run("../version", "a/b?c")
    assert airflow.asked == ["GET /api/v2/dags/../version/dagRuns/a/b?c"]


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({}, "to log in to Airflow nothing is set; give one of: token, token_file, user with password"),
        (
            {"token": "t", "user": "me", "password": "p"},
            "to log in to Airflow token and user is set; give one of: token, token_file, user with password",
        ),
        ({"user": "me"}, "of Airflow's user and password one is missing; give both, or a token"),
        *(
            (
                {"url": url, "token": "t"},
                "the URL of Airflow is none; write for example https://airflow.example.com, "
                "without user, password or query",
            )
            for url in ("airflow", "ftp://host", "http://me:secret@host", "http://host?a=b")
        ),
    ],
)
def test_a_login_that_cannot_work_is_refused(login: dict[str, Any], message: str) -> None:
    with pytest.raises(AccessSettingsError) as caught:
        AirflowLogin(**{"url": "https://airflow", **login})
    assert str(caught.value) == message


def test_a_login_shows_no_secret() -> None:
    shown = repr(AirflowLogin(url="https://airflow/", user="me", password="secret"))
    assert shown == "AirflowLogin(url='https://airflow/', token_file=None, user='me')"


def test_a_request_that_a_conf_cannot_hold_is_refused() -> None:
    way_out = "write the records to a file that Airflow's workers reach, and trigger the Dag with its uri"
    for records, message in (
        ([], "there are no records; give at least one"),
        (["a"] * 1001, f"the request has 1,001 records, and a Dag run takes at most 1,000 in its conf; {way_out}"),
        (
            ["a" * 262_130],
            f"the request has 262,146 bytes of JSON, and a Dag run takes at most 262,144 in its conf; {way_out}",
        ),
    ):
        with pytest.raises(InputError) as caught:
            conf_of(records)
        assert str(caught.value) == message
    assert len(conf_of(["a"] * 1000)["records"]) == 1000
