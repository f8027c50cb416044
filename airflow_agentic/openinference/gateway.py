"""A client of our gateway's jobs: hand one in, ask how far it is, take its answers, end it.

The gateway speaks JSON of its own; connections, token, certificates and bounds are those of model servers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import orjson

from airflow_agentic.exceptions import ModelUnavailableError, ServiceRefusedError
from airflow_agentic.openinference.balance import Server
from airflow_agentic.openinference.transport import FailedError, Transport

if TYPE_CHECKING:
    from airflow_agentic.spec.service import ServiceSpec

OPEN: Final = frozenset({"submitted", "working", "input-required"})
"""The states of a job that is not closed."""
GONE: Final = "gone"
"""In place of a state: the gateway knows no such job."""
FIRST_SECONDS: Final = 1.0
MOST_SECONDS: Final = 30.0
"""Between two looks at the jobs; the pause grows by a half each time."""
PATIENCE_SECONDS: Final = 600.0
"""A gateway may be away for so long while its jobs are waited for."""


class GatewayClient:
    """Asks one gateway. Connections are made when they are needed and stay open until :meth:`close`.

    Errors of every call: :class:`ServiceRefusedError`, :class:`ModelUnavailableError`.

    :param token: the bearer token of a service that names no reference to one; it is kept in memory only.
    :raises ServiceRefusedError: ``service`` does not name exactly one URL.
    """

    def __init__(self, service: ServiceSpec, *, token: str | None = None) -> None:
        urls = service.url or []
        if len(urls) != 1:
            given = f"{len(urls)} addresses" if urls else "no address"
            raise ServiceRefusedError(
                f"the gateway has {given}; write one: gateway: {{url: http://HOST:8000}}, or the host of its connection"
            )
        self.service = service
        self.url = urls[0]
        self._token = token
        self._server = Server(self.url)
        self._transport: Transport | None = None

    async def plan(self, workflow: str) -> dict[str, Any]:
        """How the gateway answers ``workflow``."""
        return await self._ask("GET", f"/plans/{quote(workflow, safe='')}")

    async def submit(self, request: bytes, *, key: str, seconds: float | None = None) -> dict[str, Any]:
        """Hand in a job, or find the one that was handed in under ``key``.

        :param request: as ``POST /predict`` takes it, ``mode: async``.
        :param seconds: that the job may take; without it the gateway's limit counts.
        :returns: the job, as the gateway shows it.
        """
        return await self._ask("POST", "/predict", body=request, headers={"Idempotency-Key": key}, seconds=seconds)

    async def job(self, job_id: str, *, result: bool = True) -> dict[str, Any]:
        """A job; with ``result`` its answers, too."""
        return await self._ask("GET", f"/jobs/{quote(job_id, safe='')}{'' if result else '?result=false'}")

    async def cancel(self, job_id: str) -> None:
        """End a job; one that is closed stays as it is."""
        await self._ask("POST", f"/jobs/{quote(job_id, safe='')}/cancel")

    async def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        if self._transport is None:
            self._transport = Transport(self.service, self._token)
        try:
            async with asyncio.timeout(self.service.timeout):
                found = await self._transport.exchange(
                    self._server, method, path, body=body, headers=headers, seconds=seconds
                )
        except FailedError as error:
            raise error.error from error
        except TimeoutError:
            raise ModelUnavailableError(
                f"the gateway {self.url} did not answer {method} {path} in {self.service.timeout:g} s"
            ) from None
        return _document(self.url, found.body)


def _document(url: str, body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise ServiceRefusedError(
            f"{url} answers, but not as a gateway does; give the URL of `airflow-agentic gateway`"
        )
    return document


async def wait_closed(
    client: GatewayClient,
    jobs: Sequence[str],
    *,
    patience: float = PATIENCE_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, str]:
    """The jobs' states, once all are closed or one is closed without an answer. No answer is read.

    :param patience: seconds for which the gateway may give no answer.
    :raises ModelUnavailableError: it gave none for longer.
    :raises ServiceRefusedError: it refuses to say.
    """
    states: dict[str, str] = dict.fromkeys(jobs, "submitted")
    pause, heard = FIRST_SECONDS, clock()
    while True:
        try:
            for job in [job for job, state in states.items() if state in OPEN]:
                states[job] = await _state(client, job)
                heard = clock()
        except ModelUnavailableError as error:
            if clock() - heard >= patience:
                raise ModelUnavailableError(
                    f"the gateway {client.url} was not heard of for {patience:g} s ({error}); a retry finds its jobs"
                ) from error
        if not any(state in OPEN for state in states.values()) or set(states.values()) - {*OPEN, "completed"}:
            return states
        await sleep(pause)
        pause = min(pause * 1.5, MOST_SECONDS)


async def _state(client: GatewayClient, job: str) -> str:
    try:
        return str((await client.job(job, result=False))["state"])
    except ServiceRefusedError as error:
        if error.status != 404:
            raise
        return GONE


async def cancel_all(client: GatewayClient, jobs: Sequence[str]) -> list[str]:
    """End the jobs; returns why some could not be."""
    ended = await asyncio.gather(*(client.cancel(job) for job in jobs), return_exceptions=True)
    return [f"job {job}: {error}" for job, error in zip(jobs, ended, strict=True) if isinstance(error, Exception)]
