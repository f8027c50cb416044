"""What a gateway shows of itself, to whom, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from executing import World
from gateways import client_of, gateway, moods

from airflow_agentic.exceptions import (
    AuthenticationUnavailableError,
    ModelLoadError,
    QuotaExceededError,
    QuotaTooSmallError,
    UnauthenticatedError,
)
from airflow_agentic.serving.access import Client, Quota
from airflow_agentic.serving.gateway.door import refusal
from airflow_agentic.serving.gateway.problems import KINDS
from airflow_agentic.spec.model import ModelCard


class Tokens:
    """An authenticator: each client's token is its name."""

    problem = None

    def __init__(self, *clients: Client) -> None:
        self.known = {client.name: client for client in clients}

    async def client(self, token: str) -> Client:
        if token not in self.known:
            raise UnauthenticatedError("the token is not valid here")
        return self.known[token]

    async def close(self) -> None:
        """Nothing to give back."""


SHOP = Client(name="shop", workflows=frozenset({"moods"}), quota=Quota(records_per_second=0.001, burst_seconds=2000))
ANN = Client(name="ann", workflows=None)


def bearer(name: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {name}"}


TWO = (moods(), moods("a", name="other"))


async def test_tasks_models_and_plans() -> None:
    async with gateway() as app, client_of(app) as client:
        tasks = (await client.get("/tasks")).json()
        models = (await client.get("/models")).json()["models"]
        plan = (await client.get("/plans/moods")).json()
    assert tasks == {
        "tasks": [{"task": "text-analysis", "workflows": [{"name": "moods", "description": "", "state": "loading"}]}]
    }
    assert [(one["name"], one["version"], one["state"], one["workflows"]) for one in models] == [
        (name, "1", "loading", ["moods"]) for name in "abc"
    ]
    assert [node["id"] for node in plan["nodes"]] == [
        "preprocess", "route", "main.a", "main.b", "main.c", "aggregate", "publish"
    ]  # fmt: skip
    assert len({node["digest"] for node in plan["nodes"]}) == 7
    assert plan["drawing"].startswith("preprocess ─ route ─")


async def test_a_client_sees_and_uses_its_own_workflows_only() -> None:
    async with gateway(specs=TWO, authenticator=Tokens(SHOP, ANN)) as app, client_of(app) as client:

        async def status(name: str, path: str) -> int:
            return (await client.get(path, headers=bearer(name))).status_code

        assert [await status(name, "/plans/other") for name in ("shop", "ann", "nobody")] == [404, 200, 401]
        tasks = (await client.get("/tasks", headers=bearer("shop"))).json()["tasks"]
        assert [one["name"] for one in tasks[0]["workflows"]] == ["moods"]
        refused = await client.post("/predict", json={"workflow": "other", "input": "x"}, headers=bearer("shop"))
        unknown = await client.post("/predict", json={"workflow": "nothing", "input": "x"}, headers=bearer("shop"))
        own = await client.post("/predict", json={"task": "text-analysis", "input": "x"}, headers=bearer("shop"))
    assert (refused.status_code, refused.json()["type"], unknown.status_code) == (403, "/problems/forbidden", 403)
    assert refused.json()["detail"].replace("other", "nothing") == unknown.json()["detail"]
    assert (own.status_code, own.json()["workflow"]) == (200, "moods")


async def test_who_is_not_known_is_asked_for_a_token_before_anything_is_read() -> None:
    async with gateway(authenticator=Tokens()) as app, client_of(app) as client:
        answers = [
            await client.post("/predict", content=b"{", headers={"content-type": "application/json"}),
            await client.get("/tasks"),
            await client.get("/models", headers={"authorization": "Basic eA=="}),
        ]
        open_to_all = [await client.get(path) for path in ("/health/live", "/problems", "/openapi.json")]
    assert {(one.status_code, one.headers["www-authenticate"]) for one in answers} == {
        (401, 'Bearer realm="airflow-agentic"')
    }
    assert answers[0].json()["detail"] == ("there is no bearer token; send the header 'Authorization: Bearer TOKEN'")
    assert [one.status_code for one in open_to_all] == [200] * 3


async def test_a_quota_is_kept() -> None:
    async with gateway(authenticator=Tokens(SHOP)) as app, client_of(app) as client:

        async def ask(count: int) -> httpx.Response:
            return await client.post("/predict", json={"records": ["x"] * count}, headers=bearer("shop"))

        statuses = [(await ask(count)).status_code for count in (2, 3, 1)]
        refused = await ask(1)
    assert statuses == [200, 413, 429]
    assert (refused.json()["type"], int(refused.headers["retry-after"]) > 900) == ("/problems/quota-exceeded", True)


def test_what_access_refuses_are_problems() -> None:
    errors = [
        AuthenticationUnavailableError("the keys cannot be had"),
        QuotaExceededError("too much", 3.2),
        QuotaTooSmallError("too many"),
    ]
    made = [refusal(error) for error in errors]
    assert [(one.kind.status, one.detail, one.retry_after) for one in made] == [
        (503, "the keys cannot be had", 5.0),
        (429, "too much", 3.2),
        (413, "too many", None),
    ]


@pytest.mark.parametrize(
    ("headers", "status", "detail"),
    [
        (
            {"host": "evil.example"},
            421,
            "the host 'evil.example' is another name than this machine's own; ask 127.0.0.1 or localhost",
        ),
        (
            {"host": "localhost:8000", "origin": "https://evil.example"},
            403,
            "the page of 'https://evil.example' may not ask here: requests of other origins are off",
        ),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, 200, None),
        ({"host": "[::1]:8000"}, 200, None),
        ({"host": "127.0.0.1"}, 200, None),
    ],
)
async def test_without_tokens_only_this_machine_may_ask(headers: dict[str, str], status: int, detail: str) -> None:
    async with gateway() as app, client_of(app) as client:
        answers = [
            await client.get("/tasks", headers=headers),
            await client.post("/predict", json={"input": "x"}, headers=headers),
        ]
    assert [one.status_code for one in answers] == [status] * 2
    assert [one.json().get("detail") for one in answers] == [detail] * 2
    assert all("access-control-allow-origin" not in one.headers for one in answers)


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/predict", 405, "'/predict' takes POST, not GET"),
        ("PUT", "/tasks", 405, "'/tasks' takes GET, not PUT"),
        ("GET", "/nothing", 404, "there is nothing at '/nothing'; see /openapi.json"),
        ("GET", "/plans/mods", 404, "no workflow is called 'mods'; did you mean 'moods'?"),
        ("GET", "/problems/overloded", 404, "no problem is called 'overloded'; did you mean 'overloaded'?"),
    ],
)
async def test_the_frameworks_errors_are_problems_too(method: str, path: str, status: int, detail: str) -> None:
    async with gateway() as app, client_of(app) as client:
        answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_a_request_id_is_kept_where_it_is_harmless() -> None:
    async with gateway() as app, client_of(app) as client:
        for given, kept in (("abc-1", True), ("a b", False), ("x" * 200, False)):
            for path in ("/tasks", "/predict"):
                answer = await client.get(path, headers={"x-request-id": given})
                assert (answer.headers["x-request-id"] == given) is kept


async def test_every_kind_of_problem_is_explained() -> None:
    async with gateway() as app, client_of(app) as client:
        listed = (await client.get("/problems")).json()["problems"]
        assert [one["type"] for one in listed] == [f"/problems/{name}" for name in KINDS]
        one = await client.get(listed[0]["type"])
    assert (one.json(), "invalid-json" in KINDS) == (listed[0], True)


def failing(names: Sequence[str]) -> Callable[[ModelCard], Any]:
    """A starter that cannot load some models."""

    def start(card: ModelCard) -> Any:
        if card.name in names:
            raise ModelLoadError(f"no file of {card.name}")
        return World().start(card)

    return start


@pytest.mark.parametrize(
    ("use", "failed", "state"),
    [
        ({"ensemble": ["a", "b", "c"], "quorum": 2}, (), "ready"),
        ({"ensemble": ["a", "b", "c"], "quorum": 2}, ("b",), "degraded"),
        ({"ensemble": ["a", "b", "c"], "quorum": 2}, ("b", "c"), "unable"),
        ({"cascade": ["a", "b"], "accept": "prediction.score >= 0.9"}, ("a",), "degraded"),
        ({"cascade": ["a", "b"], "accept": "prediction.score >= 0.9"}, ("a", "b"), "unable"),
        ({"split": {"arms": [{"use": "a", "weight": 0.9}, {"use": "b", "weight": 0.1}]}}, ("b",), "unable"),
        ({"shadow": {"primary": "a", "shadows": ["b"]}}, ("b",), "degraded"),
        ({"shadow": {"primary": "a", "shadows": ["b"]}}, ("a",), "unable"),
    ],
)
async def test_ready_is_a_gateway_whose_workflows_can_answer(use: object, failed: tuple[str, ...], state: str) -> None:
    async with gateway(specs=[moods(use)], starter=failing(failed)) as app:
        readiness = app.readiness
        assert (readiness.ready, readiness.workflows) == (False, {"moods": "loading"})
        await readiness.prepare()
    assert (readiness.ready, readiness.workflows) == (state != "unable", {"moods": state})
    for name in failed:
        assert readiness.document()["models"][name] == {"state": "failed", "why": f"no file of {name}"}


async def test_readiness_loads_the_models_and_ends_with_draining() -> None:
    world = World()
    async with gateway(world, specs=[moods("a")]) as app, client_of(app) as client:
        before = await client.get("/health/ready")
        await app.readiness.prepare()
        after = await client.get("/health/ready")
        app.drain()
        draining = await client.get("/health/ready")
        answer = await client.post("/predict", json={"input": "x"})
        live = await client.get("/health/live")
    assert [one.status_code for one in (before, after, draining)] == [503, 200, 503]
    assert (after.json()["status"], draining.json()["status"], world.loads["a"]) == ("ready", "draining", 1)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert live.status_code == 200


async def test_a_trusted_clients_users_are_told_apart() -> None:
    airflow = Client(name="airflow", workflows=None, quota=Quota(concurrent=8), acts_for_users=True)
    async with gateway(authenticator=Tokens(airflow, ANN)) as app, client_of(app) as client:

        async def ask(method: str, path: str, token: str, user: str | None, **options: Any) -> httpx.Response:
            headers = {**bearer(token), **({} if user is None else {"x-agentic-user": user})}
            return await client.request(method, path, headers=headers, **options)

        body = {"task": "text-analysis", "input": "fine", "mode": "async"}
        job = (await ask("POST", "/predict", "airflow", "eve", json=body)).headers["location"]
        seen = {user: (await ask("GET", job, "airflow", user)).status_code for user in ("eve", "bob", None)}
        refused = [await ask("GET", "/tasks", "ann", "eve"), await ask("POST", "/predict", "ann", "eve", json=body)]
        wrong = await ask("GET", job, "airflow", "eve/../bob")

    assert seen == {"eve": 200, "bob": 404, None: 404}
    assert [(one.status_code, one.json()["detail"]) for one in refused] == [
        (
            403,
            "'ann' may not ask for others; ask without X-Agentic-User, "
            "or have whoever runs this gateway give the client acts_for_users",
        )
    ] * 2
    assert wrong.status_code == 403


async def test_nobody_acts_for_users_where_nobody_is_asked_who_they_are() -> None:
    async with gateway() as app, client_of(app) as client:
        found = await client.get("/tasks", headers={"x-agentic-user": "eve"})

    assert found.status_code == 403
