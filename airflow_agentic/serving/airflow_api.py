"""Airflow's public REST API, as far as the gateway needs it for ``mode: dag``.

A Dag run of ours answers the records in its conf (the field ``records`` of the trigger form) and leaves the answers in
the artifact store, where :mod:`.dag_answers` reads them. XCom is not asked: it holds counts only.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import quote

import aiohttp
from yarl import URL

from airflow_agentic.exceptions import AirflowApiError, AirflowRefusedError, AirflowUnavailableError, InputError
from airflow_agentic.serving.airflow_login import AirflowLogin as AirflowLogin
from airflow_agentic.serving.airflow_login import Tokens
from airflow_agentic.spec.workflow import MAX_INLINE_BYTES, MAX_INLINE_RECORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DagRunState = Literal["queued", "running", "success", "failed"]
FINISHED: Final = frozenset({"success", "failed"})
ANSWER_SECONDS: Final = 30.0
"""For one answer of Airflow."""
ONE_ANSWER: Final = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
SILENCE_SECONDS: Final = 60.0
"""After which a run that is waited for is asked for anew."""
MAX_DETAIL: Final = 500


@dataclass(frozen=True, kw_only=True)
class DagRun:
    """A Dag run as Airflow shows it."""

    dag_id: str
    run_id: str
    state: DagRunState
    url: str
    """Of its page."""

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state in FINISHED


def run_id_of(job_id: str) -> str:
    """The id of the Dag run that answers a job: a retry finds the run that the first try made."""
    return f"gateway-{job_id}"


def conf_of(records: Sequence[object], *, task: str | None = None) -> dict[str, Any]:
    """The conf of a Dag run that answers ``records``.

    :param records: texts, or JSON objects as of an input's JSON lines: ``{"text": …}``, ``{"uri": …}``,
        ``{"bytes": base64}``…
    :param task: of records that name none.
    :raises InputError: none, or more than a conf holds.
    """
    if not records:
        raise InputError("there are no records; give at least one")
    conf: dict[str, Any] = {"records": list(records)}
    size = len(json.dumps(conf, separators=(",", ":")))
    for amount, most, unit in (
        (len(records), MAX_INLINE_RECORDS, "records"),
        (size, MAX_INLINE_BYTES, "bytes of JSON"),
    ):
        if amount > most:
            raise InputError(
                f"the request has {amount:,} {unit}, and a Dag run takes at most {most:,} in its conf; "
                "write the records to a file that Airflow's workers reach, and trigger the Dag with its uri"
            )
    return conf if task is None else {**conf, "task": task}


class AirflowApi:
    """A client, for one event loop; to be closed.

    Errors of every call: :class:`AirflowRefusedError`, :class:`AirflowUnavailableError`.

    :param interval: seconds between two looks at a run that is waited for.
    """

    def __init__(self, login: AirflowLogin, *, interval: float = 1.0) -> None:
        self._base = login.base
        self._interval = interval
        self._tokens = Tokens(login, self._exchange)
        self._open_session: aiohttp.ClientSession | None = None

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> DagRun:
        """Start a run, or find the one of that id.

        :raises AirflowRefusedError: no such Dag, it is paused, it refuses the conf, or the run of that id was started
            with another conf.
        """
        dag = await self._call("GET", _dag(dag_id), f"read the Dag {dag_id!r}")
        if dag["is_paused"]:
            raise AirflowRefusedError(
                f"the Dag {dag_id!r} is paused, so that its runs would wait for ever; "
                f"unpause it: airflow dags unpause {dag_id}, or in Airflow's UI"
            )
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf)}
        try:
            made = await self._call("POST", f"{_dag(dag_id)}/dagRuns", f"trigger the Dag {dag_id!r}", body=body)
        except AirflowRefusedError as error:
            if error.status != 409:
                raise
            made = await self._call("GET", _run(dag_id, run_id), f"read the run {run_id!r} of {dag_id!r}")
            if made["conf"] != body["conf"]:
                raise AirflowRefusedError(
                    f"the Dag {dag_id!r} has a run {run_id!r} already, which answers other records; use another id", 409
                ) from error
        return self._shown(made)

    async def run(self, dag_id: str, run_id: str) -> DagRun:
        """The run as it is now."""
        return self._shown(await self._call("GET", _run(dag_id, run_id), f"read the run {run_id!r} of {dag_id!r}"))

    async def wait(self, dag_id: str, run_id: str, *, timeout: float) -> DagRun:
        """The run once it has ended, or as it is after ``timeout`` seconds.

        An Airflow that gives no answer for a while is asked again within that time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = await self.run(dag_id, run_id)
            except AirflowUnavailableError:
                if time.monotonic() >= deadline:
                    raise
            else:
                if found.finished or time.monotonic() >= deadline:
                    return found
            await self._until_finished(dag_id, run_id, deadline)

    async def _until_finished(self, dag_id: str, run_id: str, deadline: float) -> None:
        """Wait while the run goes on, at most until the deadline; it may return early.

        By the route ``wait``, which Airflow calls experimental: where it does not answer, by letting time pass.
        """
        path = f"{_run(dag_id, run_id)}/wait"
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, deadline - began)):
                async with await self._send(
                    "GET", path, params={"interval": str(self._interval)}, stream=True
                ) as answer:
                    if answer.status == 200:
                        async for line in answer.content:
                            if line.strip() and json.loads(line).get("state") in FINISHED:
                                return
                await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - began)))
        except (AirflowApiError, aiohttp.ClientError, TimeoutError, ValueError):
            await asyncio.sleep(min(self._interval, max(0.0, deadline - time.monotonic())))

    async def cancel(self, dag_id: str, run_id: str) -> DagRun:
        """End the run as failed, with its Airflow tasks; one that has ended stays as it is."""
        found = await self.run(dag_id, run_id)
        if found.finished:
            return found
        what = f"end the run {run_id!r} of {dag_id!r}"
        return self._shown(await self._call("PATCH", _run(dag_id, run_id), what, body={"state": "failed"}))

    async def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """The ids of the Airflow tasks that failed, for a message."""
        path, what = f"{_run(dag_id, run_id)}/taskInstances", f"read the Airflow tasks of {run_id!r} of {dag_id!r}"
        found = await self._call("GET", path, what, params={"state": "failed", "limit": "100"})
        return sorted({one["task_id"] for one in found["task_instances"]})

    async def check(self) -> str:
        """Airflow's version, for readiness; the login is tried as well."""
        await self._call("GET", "/api/v2/dags", "list Dags", params={"limit": "1"})
        return str((await self._call("GET", "/api/v2/version", "read the version"))["version"])

    async def close(self) -> None:
        """Give its connections back."""
        if self._open_session is not None:
            await self._open_session.close()
            self._open_session = None

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._open_session is None:
            self._open_session = aiohttp.ClientSession()
        return self._open_session

    async def _call(
        self, method: str, path: str, what: str, *, body: object = None, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON object that Airflow answers.

        :param what: what we want, for messages: ``trigger the Dag 'x'``.
        """
        async with await self._send(method, path, body=body, params=params) as answer:
            text = await self._read(answer)
            if answer.status >= 300:
                raise self._refusal(answer.status, text, what)
        return self._parsed(text)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> aiohttp.ClientResponse:
        """An answer, not read yet; with a new token where the first was refused."""
        token = await self._tokens.get()
        answer = await self._request(method, path, body=body, params=params, token=token, stream=stream)
        if await self._refuses_token(answer):
            answer.release()
            token = await self._tokens.get(refused=token)
            answer = await self._request(method, path, body=body, params=params, token=token, stream=stream)
        return answer

    async def _refuses_token(self, answer: aiohttp.ClientResponse) -> bool:
        """Airflow says 401 of a token that has expired, and 403 of one that it did not make, as before its restart."""
        return answer.status == 401 or (answer.status == 403 and "Invalid JWT token" in await self._read(answer))

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        token: str | None = None,
        stream: bool = False,
    ) -> aiohttp.ClientResponse:
        url = URL(f"{self._base}{path}", encoded=True).with_query(params or {})
        headers = {"Accept": "application/json"} if token is None else {"Authorization": f"Bearer {token}"}
        seconds = aiohttp.ClientTimeout(sock_read=SILENCE_SECONDS) if stream else ONE_ANSWER
        try:
            return await self._session.request(
                method, url, json=body, headers=headers, allow_redirects=False, timeout=seconds
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silence(error) from error

    async def _read(self, answer: aiohttp.ClientResponse) -> str:
        try:
            return await answer.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._silence(error) from error

    async def _exchange(self, user: str, password: str) -> str:
        body = {"username": user, "password": password}
        async with await self._request("POST", "/auth/token", body=body) as answer:
            text = await self._read(answer)
            if answer.status in (400, 401, 403):
                raise AirflowRefusedError(
                    f"Airflow at {self._base} does not accept user {user!r} and password; mend them", answer.status
                )
            if answer.status >= 300:
                raise self._refusal(answer.status, text, "log in")
        return str(self._parsed(text).get("access_token"))

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise AirflowRefusedError(
                f"{self._base} answers, but not as Airflow's REST API does; give the URL of Airflow 3's API server"
            )
        return found

    def _silence(self, error: Exception) -> AirflowUnavailableError:
        why = str(error) or f"none within {ANSWER_SECONDS:g} s"
        return AirflowUnavailableError(
            f"Airflow at {self._base} gives no answer ({why}); check that its API server runs and can be reached"
        )

    def _refusal(self, status: int, text: str, what: str) -> AirflowApiError:
        detail = _detail(text)
        if status >= 500 or status == 429:
            return AirflowUnavailableError(
                f"Airflow at {self._base} could not {what}: {status} {detail}; ask again, and see its API server's log",
                status,
            )
        way_out = {
            300: "set the URL that it redirects to",
            401: "give it a login that is valid",
            403: "give the login's role the right to do so",
            404: "check the name, and that Airflow has parsed the Dag file",
            405: "give the URL of Airflow 3's API server",
        }.get(300 if status < 400 else status, "mend the request")
        return AirflowRefusedError(f"Airflow at {self._base} refuses to {what}: {status} {detail}; {way_out}", status)

    def _shown(self, run: Mapping[str, Any]) -> DagRun:
        dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
        page = f"{self._base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
        return DagRun(dag_id=dag_id, run_id=run_id, state=cast("DagRunState", run["state"]), url=page)


def _dag(dag_id: str) -> str:
    return f"/api/v2/dags/{quote(dag_id, safe='')}"


def _run(dag_id: str, run_id: str) -> str:
    return f"{_dag(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _detail(text: str) -> str:
    """What Airflow says, in one line."""
    try:
        found = json.loads(text).get("detail", text)
    except (ValueError, AttributeError):
        found = text
    if isinstance(found, list):
        found = "; ".join(str(one.get("msg", one)) if isinstance(one, dict) else str(one) for one in found)
    return " ".join(str(found).split())[:MAX_DETAIL]
