"""The proxy to the configured gateway: off by default, one address, few paths, the caller's rights and name."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any, Final

import httpx
import pytest
from agentic_api import ADDRESS, Api, User, user

from airflow_agentic.exceptions import InputError
from airflow_agentic.hooks.gateway import GatewayAddress, address_of
from airflow_agentic.plugins.api import gateway as routes
from airflow_agentic.plugins.api import upstream

ANN: Final = user("ann@example.org", "moods")
PREDICT: Final = {"task": "text-analysis", "input": "This is a test sentence."}
TASKS: Final = {
    "tasks": [
        {"task": "text-analysis", "workflows": [{"name": "moods"}, {"name": "secret"}]},
        {"task": "pricing", "workflows": [{"name": "secret"}]},
        {"task": "twice", "workflows": [{"name": "moods"}, {"name": "gone"}]},
    ]
}
MODELS: Final = {"models": [{"name": "a", "workflows": ["moods", "secret"]}, {"name": "b", "workflows": ["secret"]}]}
ROUTES: Final = (
    ("POST", "/predict"),
    ("GET", "/gateway/tasks"),
    ("GET", "/gateway/models"),
    ("GET", "/gateway/jobs/j"),
)


class Gateway:
    """Remembers what it is asked."""

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.asked: list[httpx.Request] = []
        self.answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path = request.url.path.removeprefix("/base")
        if path == "/tasks":
            return httpx.Response(200, json=TASKS)
        if path == "/models":
            return httpx.Response(200, json=MODELS)
        return self.answer or httpx.Response(200, json={"label": "good"}, headers={"x-internal": "1"})

    @property
    def predicted(self) -> dict[str, Any]:
        (request,) = [one for one in self.asked if one.url.path == "/base/predict"]
        found: dict[str, Any] = json.loads(request.content)
        return found


async def ask(
    made: Api, path: str = "/predict", method: str = "POST", *, name: str = ANN.name, **options: Any
) -> httpx.Response:
    if method == "POST" and not options.keys() & {"content", "json"}:
        options["json"] = PREDICT
    async with made.client(name) as client:
        return await client.request(method, path, **options)


def api(gateway: Any, *users: User, **changes: Any) -> Api:
    return Api(users=users or (ANN,), gateway=gateway, **changes)


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_is_let_in_without_a_login(method: str, path: str) -> None:
    gateway = Gateway()
    found = await ask(api(gateway), path, method, name="")

    assert (found.status_code, gateway.asked) == (401, [])


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_it_is_off_by_default(method: str, path: str) -> None:
    found = await ask(api(Gateway(), address=None), path, method)

    assert found.status_code == 404
    assert found.json()["detail"] == (
        "no gateway is configured: set [agentic] gateway_conn_id (AIRFLOW__AGENTIC__GATEWAY_CONN_ID) "
        "to a connection that names one"
    )


async def test_a_request_is_handed_on_in_the_callers_name() -> None:
    gateway = Gateway()
    headers = {
        "X-Agentic-User": "somebody", "Host": "elsewhere", "X-Forwarded-Host": "elsewhere", "Idempotency-Key": "k",
        "X-Request-Timeout-Ms": "5000", "Cookie": "_token=secret",
    }  # fmt: skip
    found = await ask(api(gateway), headers=headers)

    assert (found.status_code, found.json()) == (200, {"label": "good"})
    assert "x-internal" not in found.headers
    assert gateway.predicted == {**PREDICT, "workflow": "moods"}
    sent = gateway.asked[-1]
    assert str(sent.url) == "http://gateway:8000/base/predict"
    assert sent.headers["authorization"] == "Bearer secret"
    assert sent.headers["x-agentic-user"] == "ann@example.org"
    assert sent.headers["idempotency-key"] == "k"
    assert 0 < int(sent.headers["x-request-timeout-ms"]) <= 5000
    assert "cookie" not in sent.headers
    assert "x-forwarded-host" not in sent.headers


async def test_a_name_is_no_header_of_its_own() -> None:
    strange = User("änn/..\n%", ANN.can)
    gateway = Gateway()
    made = api(gateway, User("x", strange.can))
    object.__setattr__(made.users[0], "name", strange.name)
    async with made.client() as client:
        found = await client.post("/predict", json=PREDICT, headers={"authorization": strange.name.encode("latin-1")})

    assert found.status_code == 200
    assert gateway.asked[-1].headers["x-agentic-user"] == "%C3%A4nn%2F..%0A%25"


async def test_who_may_not_trigger_the_dag_may_not_predict() -> None:
    for who in (user("bob", "other"), user("bob", "moods", rights=["workflow", "run", "records"])):
        gateway = Gateway()
        found = await ask(api(gateway, who), name="bob", json={"workflow": "moods", "input": "x"})
        assert found.status_code == 403
        assert gateway.asked == []


async def test_a_task_finds_only_a_workflow_that_the_caller_sees() -> None:
    gateway = Gateway()
    found = await ask(api(gateway), json={"task": "pricing", "input": "x"})
    assert (found.status_code, found.json()["detail"]) == (
        422, "no workflow that you may see does the task 'pricing'; see /agentic/gateway/tasks"
    )  # fmt: skip

    both = user("ann", "moods", "secret")
    found = await ask(api(gateway, both), name="ann")
    assert found.json()["detail"] == (
        "several workflows do 'text-analysis' (moods, secret); choose one with 'workflow'"
    )
    assert [one.url.path for one in gateway.asked] == ["/base/tasks"] * 2


async def test_a_workflow_without_a_dag_is_not_asked() -> None:
    gateway = Gateway()
    found = await ask(api(gateway, user("ann", "gone")), name="ann", json={"workflow": "gone", "input": "x"})

    assert (found.status_code, gateway.asked) == (404, [])


async def test_a_workflow_that_is_named_twice_counts_once() -> None:
    gateway = Gateway()
    body = b'{"workflow": "secret", "workflow": "moods", "input": "x"}'
    found = await ask(api(gateway), content=body, headers={"content-type": "application/json"})

    assert found.status_code == 200
    assert gateway.predicted == {"workflow": "moods", "input": "x"}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, 'the body is no JSON; send an object, as {"task": …, "input": …}'),
        (b"[" * 100_000, 400, 'the body is no JSON; send an object, as {"task": …, "input": …}'),
        (b"[]", 400, 'the body is no JSON object; send one, as {"task": …, "input": …}'),
        (b"{}", 422, "the body names no workflow; give 'workflow', or the 'task' that one does"),
        (b'{"workflow": ["moods"]}', 422, "'workflow' is a list; give a workflow's name"),
        (b'{"input": "' + b"x" * routes.MOST_BODY + b'"}', 413, "the body has more than 8,388,608 bytes; send less"),
    ],
)
async def test_a_wrong_body_is_not_handed_on(body: bytes, status: int, said: str) -> None:
    gateway = Gateway()
    found = await ask(api(gateway), content=body, headers={"content-type": "application/json"})

    assert (found.status_code, found.json()["detail"], gateway.asked) == (status, said, [])


async def test_only_json_is_handed_on() -> None:
    found = await ask(api(Gateway()), content=b"x", headers={"content-type": "text/plain"})

    assert (found.status_code, found.json()["detail"]) == (
        415, "only application/json is handed on; send files and NDJSON to the gateway itself"
    )  # fmt: skip


@pytest.mark.parametrize("given", ["0", "-1", "x", "1" * 10, "1.5"])
async def test_a_wrong_time_is_named(given: str) -> None:
    found = await ask(api(Gateway()), headers={"X-Request-Timeout-Ms": given})

    assert (found.status_code, found.json()["detail"]) == (
        422, f"X-Request-Timeout-Ms is {given!r}; give the milliseconds that are left, from 1"
    )  # fmt: skip


async def test_lists_show_what_the_caller_sees() -> None:
    tasks = await ask(api(Gateway()), "/gateway/tasks", "GET")
    models = await ask(api(Gateway()), "/gateway/models", "GET")

    assert tasks.json() == {
        "tasks": [
            {"task": "text-analysis", "workflows": [{"name": "moods"}]},
            {"task": "twice", "workflows": [{"name": "moods"}]},
        ]
    }
    assert models.json() == {"models": [{"name": "a", "workflows": ["moods"]}]}


async def test_a_job_is_handed_on_by_its_id_only() -> None:
    gateway = Gateway()
    good = await ask(api(gateway), "/gateway/jobs/0123abcd-ef", "GET")
    bad = [await ask(api(gateway), f"/gateway/jobs/{job}", "GET") for job in ("..", "%2E%2E", "a%2Fb", "a?x", "é")]

    assert good.status_code == 200
    assert {one.status_code for one in bad[1:3]} == {404}
    assert {one.url.path for one in gateway.asked} <= {"/base/jobs/0123abcd-ef", "/base/jobs/a"}


@pytest.mark.parametrize("path", ["/gateway/health/ready", "/gateway/plans/moods", "/gateway/", "/gateway/predict"])
async def test_no_other_path_is_handed_on(path: str) -> None:
    gateway = Gateway()
    assert (await ask(api(gateway), path, "GET")).status_code == 404
    assert gateway.asked == []


async def test_a_problem_of_the_gateway_is_passed_on() -> None:
    answer = httpx.Response(
        429,
        content=b'{"status": 429, "detail": "quota"}',
        headers={"content-type": "application/problem+json", "retry-after": "3", "set-cookie": "a=b"},
    )
    found = await ask(api(Gateway(answer)))

    assert (found.status_code, found.json()["detail"], found.headers["retry-after"]) == (429, "quota", "3")
    assert "set-cookie" not in found.headers


async def test_a_jobs_place_is_ours() -> None:
    answer = httpx.Response(202, json={"id": "j"}, headers={"location": "/jobs/j"})
    found = await ask(api(Gateway(answer)))

    assert (found.status_code, found.headers["location"]) == (202, "/agentic/gateway/jobs/j")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx.Response(401, json={}),
            "the gateway answers 401 to this Airflow: its connection, [agentic] gateway_conn_id, "
            "needs the address and the token of a gateway's client with acts_for_users",
        ),
        (
            httpx.Response(302, headers={"location": "http://169.254.169.254/"}),
            "the gateway answers 302 to this Airflow: its connection, [agentic] gateway_conn_id, "
            "needs the address and the token of a gateway's client with acts_for_users",
        ),
        (
            httpx.Response(200, html="<script>alert(1)</script>"),
            "what is at the gateway's address answers 200 without JSON",
        ),
    ],
)
async def test_what_is_no_gateway_is_not_passed_on(answer: httpx.Response, said: str) -> None:
    found = await ask(api(Gateway(answer)))

    assert (found.status_code, found.json()["detail"]) == (502, said)


async def test_a_long_answer_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MOST_RESPONSE", 10)
    found = await ask(api(Gateway()), json={"workflow": "moods"})

    assert (found.status_code, found.json()["detail"]) == (
        502,
        "the gateway's answer has more than 10 bytes; ask for fewer records",
    )


async def test_only_so_many_requests_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "AT_ONCE", 0)
    found = await ask(api(Gateway()), json={"workflow": "moods"})

    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert found.json()["detail"] == "too many requests to the gateway are under way here; try again"


async def test_a_gateway_that_is_away() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    found = await ask(api(refuse))

    assert (found.status_code, found.headers["retry-after"]) == (503, "5")
    assert found.json()["detail"] == "the gateway cannot be reached (ConnectError); see [agentic] gateway_conn_id"


async def test_a_gateway_that_is_too_slow() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        import asyncio

        await asyncio.Event().wait()
        raise AssertionError

    found = await ask(api(hang), json={"workflow": "moods"}, headers={"X-Request-Timeout-Ms": "20"})

    assert found.status_code == 504
    assert re.fullmatch(
        r"the gateway gave no answer within [0-9.]+ s; allow more time, or ask for less", found.json()["detail"]
    )


def connection(**changes: Any) -> Any:
    said = {"conn_id": "gw", "host": "gateway", "schema": None, "port": 8000, "password": "t", "extra_dejson": {}}
    return SimpleNamespace(**{**said, **changes})


class TestAddress:
    def test_it_is_what_the_connection_says(self) -> None:
        assert address_of(connection()) == GatewayAddress(url="http://gateway:8000", token="t")
        assert address_of(connection(schema="https", extra_dejson={"ca_file": "/ca.pem", "x": 1})) == GatewayAddress(
            url="https://gateway:8000", token="t", ca_file="/ca.pem"
        )
        assert (
            address_of(connection(host="https://gw.example.org/base/", port=None)).url == "https://gw.example.org/base"
        )

    def test_its_token_is_not_shown(self) -> None:
        assert "secret" not in repr(ADDRESS)

    @pytest.mark.parametrize("changes", [{"host": ""}, {"host": "ftp://x"}, {"host": "http://a:b@c"}])
    def test_no_gateway(self, changes: dict[str, Any]) -> None:
        with pytest.raises(InputError) as caught:
            address_of(connection(**changes))
        assert str(caught.value) == (
            "the connection 'gw' names no gateway; write its URL into host, as https://gateway:8000"
        )

    @pytest.mark.parametrize("password", [None, "", "a\nb", "é"])
    def test_no_token(self, password: str | None) -> None:
        with pytest.raises(InputError) as caught:
            address_of(connection(password=password))
        assert str(caught.value) == (
            "the connection 'gw' has no token as its password; "
            "give it that of a client of the gateway with acts_for_users"
        )
