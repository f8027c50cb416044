"""A client of any server of the Open Inference Protocol v2 on HTTP.

It asks one of the service's healthy servers (:mod:`.balance`) and tries at most once more, on another one where there
is one: only where a connection failed before a response began, or the server said that it is busy (429, 503) and there
is time left for the wait that it asks for. Whoever calls owns all further retries.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote

import orjson

from airflow_agentic.exceptions import (
    AgenticError,
    DeadlineError,
    ModelUnavailableError,
    ProtocolError,
    ServiceRefusedError,
)
from airflow_agentic.openinference import addresses
from airflow_agentic.openinference.balance import Balancer, Server
from airflow_agentic.openinference.rest import decode_response, encode_json_request, encode_request
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, ModelMetadata, TensorSpec
from airflow_agentic.openinference.transport import FailedError, Transport

if TYPE_CHECKING:
    from airflow_agentic.openinference.balance import Chance
    from airflow_agentic.spec.model import Datatype
    from airflow_agentic.spec.service import ServiceSpec

BINARY: Final = "binary_tensor_data"
"""What a server with the binary tensor extension names among its extensions."""
ATTEMPTS: Final = 2
BLAMED_SECONDS: Final = 1.0
"""A server that was given less time than this is not blamed for having needed more."""

OF_THE_RECORDS: Final = frozenset({400, 413, 422, 500})
"""What a server says of a request's content (500: the model raised): a part of it may well be answered."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Health:
    """What one server says of itself."""

    url: str
    ready: bool
    why: str = ""
    """Where it is not."""


class ServiceClient:
    """Asks the servers of one service. Connections are made when they are needed and stay open until :meth:`close`.

    For one event loop at a time; after :meth:`close` it may be used in another.

    :param token: the bearer token of a service that names no reference to one; it is kept in memory only.
    :param sleep: waits before a second try (tests replace it, as the others).
    :raises ServiceRefusedError: ``service`` names no URL.
    """

    def __init__(
        self,
        service: ServiceSpec,
        *,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Chance | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        look_up: addresses.LookUp = addresses.look_up,
    ) -> None:
        if service.url is None:
            where = f"only the Airflow connection {service.connection!r}" if service.connection else "no server"
            raise ServiceRefusedError(f"the service names {where}; write service: {{url: http://HOST:PORT}}")
        self.service = service
        self._token = token
        self._urls = service.url
        self._clock = clock
        self._sleep = sleep
        self._look_up = look_up
        self._balancer = Balancer([], clock=clock, chance=chance or random.SystemRandom())
        self._looked_up: float | None = None
        self._transport: Transport | None = None

    @property
    def capacity(self) -> int:
        """Requests that its servers take at once."""
        return self.service.concurrency * max(len(self._urls), len(self._balancer.servers))

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return sum(server.in_flight for server in self._balancer.servers)

    async def infer(
        self, model: str, request: InferRequest, *, version: str | None = None, timeout: float | None = None
    ) -> InferResponse:
        """Ask a model; arrays travel as binary data where the server knows that.

        :param timeout: seconds; never more than the service's.
        :raises ServiceRefusedError: a server refuses the request, with its message and status; or gives no response of
            the protocol.
        :raises ModelUnavailableError: none answered in time.
        :raises ProtocolError: an array has no JSON form, and the server does not know binary data.
        """
        path = f"{model_path(model, version)}/infer"

        async def send(server: Server, until: float) -> InferResponse:
            binary = server.binary
            if binary is None:
                binary = server.binary = await self._knows_binary(server)
            body, length = _encoded(request, binary)
            left = until - self._clock()
            found = await self._connected().exchange(
                server, "POST", path, body=body, header_length=length, seconds=left
            )
            try:
                return decode_response(found.body, found.header_length)
            except ProtocolError as error:
                message = f"the server {server.url} gave no response of the protocol: {error}"
                raise FailedError(ServiceRefusedError(message)) from error

        return await self._ask(send, timeout)

    async def metadata(self, model: str, *, version: str | None = None, timeout: float | None = None) -> ModelMetadata:
        """What a model says of itself.

        :raises ServiceRefusedError: no such model, or no metadata of the protocol.
        :raises ModelUnavailableError: no server answered in time.
        """
        return _metadata(await self._document(model_path(model, version), timeout), model)

    async def server(self, *, timeout: float | None = None) -> dict[str, Any]:
        """What a server says of itself: ``name``, ``version``, ``extensions``."""
        return await self._document("/v2", timeout)

    async def health(
        self, model: str | None = None, *, version: str | None = None, timeout: float | None = None
    ) -> list[Health]:
        """Of every server, whether it (or its ``model``) is ready; whatever its breaker says."""
        await self._find_servers()
        path = "/v2/health/ready" if model is None else f"{model_path(model, version)}/ready"
        seconds = min(self.service.timeout, timeout or self.service.timeout)
        return list(await asyncio.gather(*(self._health(server, path, seconds) for server in self._balancer.servers)))

    async def live(self, *, timeout: float | None = None) -> bool:
        """Whether one server or more is alive."""
        await self._find_servers()
        seconds = min(self.service.timeout, timeout or self.service.timeout)
        found = await asyncio.gather(
            *(self._health(server, "/v2/health/live", seconds) for server in self._balancer.servers)
        )
        return any(one.ready for one in found)

    async def ready(
        self, model: str | None = None, *, version: str | None = None, timeout: float | None = None
    ) -> bool:
        """Whether one server or more (with the model) is ready."""
        return any(one.ready for one in await self.health(model, version=version, timeout=timeout))

    async def close(self) -> None:
        """Close the connections; a later call makes new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def _document(self, path: str, timeout: float | None) -> dict[str, Any]:
        async def send(server: Server, until: float) -> dict[str, Any]:
            found = await self._connected().exchange(server, "GET", path)
            try:
                document = orjson.loads(found.body)
            except orjson.JSONDecodeError:
                document = None
            if isinstance(document, dict):
                return document
            message = f"{server.url}{path} gave no JSON object: is it a server of the Open Inference Protocol?"
            raise FailedError(ServiceRefusedError(message))

        return await self._ask(send, timeout)

    async def _health(self, server: Server, path: str, seconds: float) -> Health:
        try:
            async with asyncio.timeout(seconds):
                found = await self._connected().exchange(server, "GET", path)
        except FailedError as failure:
            return Health(url=server.url, ready=False, why=str(failure.error))
        except TimeoutError:
            return Health(url=server.url, ready=False, why=f"no answer within {seconds:.3g} s")
        ready = not _says_no(found.body)
        return Health(url=server.url, ready=ready, why="" if ready else "it says so")

    async def _knows_binary(self, server: Server) -> bool:
        try:
            found = await self._connected().exchange(server, "GET", "/v2")
            document = orjson.loads(found.body)
        except FailedError as failure:
            if isinstance(failure.error, ServiceRefusedError) and failure.error.status == 404:
                return False
            raise
        except orjson.JSONDecodeError:
            return False
        return isinstance(document, dict) and BINARY in (document.get("extensions") or ())

    async def _ask(self, send: Callable[[Server, float], Awaitable[T]], timeout: float | None) -> T:
        seconds = self.service.timeout if timeout is None else min(timeout, self.service.timeout)
        until = self._clock() + seconds
        await self._find_servers()
        failed: Server | None = None
        for attempt in range(ATTEMPTS):
            server = self._balancer.choose(but=failed)
            if server is None:
                raise self._all_open()
            try:
                return await self._asked(server, send, until, seconds)
            except FailedError as failure:
                wait = self._wait(failure, server, until)
                if attempt + 1 == ATTEMPTS or wait is None:
                    raise failure.error from failure.__cause__
                if wait:
                    await self._sleep(wait)
                failed = server
        raise RuntimeError("no attempt was made")  # ATTEMPTS is 1 or more

    async def _asked(
        self, server: Server, send: Callable[[Server, float], Awaitable[T]], until: float, seconds: float
    ) -> T:
        """One try, of which the balancer hears."""
        balancer = self._balancer
        left = until - self._clock()
        try:
            async with asyncio.timeout(left):
                found = await send(server, until)
        except FailedError as failure:
            if failure.unhealthy:
                balancer.failed(server, str(failure))
            else:
                balancer.forget(server)
            raise
        except TimeoutError:
            why = f"the server {server.url} did not answer within {seconds:.3g} s"
            if left >= BLAMED_SECONDS:
                balancer.failed(server, why)
            else:
                balancer.forget(server)
            raise FailedError(DeadlineError(why), unhealthy=True) from None
        except BaseException:
            balancer.forget(server)
            raise
        balancer.succeeded(server)
        return found

    def _wait(self, failure: FailedError, server: Server, until: float) -> float | None:
        """Seconds to wait before the second try; ``None``: there is none."""
        now = self._clock()
        if failure.again == "never" or now >= until:
            return None
        others = any(other is not server and other.can_be_asked(now) for other in self._balancer.servers)
        if failure.again == "now" or others:
            return 0.0
        return failure.after if failure.after is not None and now + failure.after < until else None

    def _all_open(self) -> AgenticError:
        found = self._balancer.opened_for()
        if found is None:
            return ModelUnavailableError("every server is being probed now; ask again in a moment")
        seconds, first = found
        count = len(self._balancer.servers)
        return ModelUnavailableError(
            f"none of {count} servers is asked, as each failed repeatedly; the next one to be tried is {first.url}, in "
            f"{seconds:.1f} s. It failed with: {first.why}"
        )

    async def _find_servers(self) -> None:
        now = self._clock()
        if self._looked_up is not None and now - self._looked_up < addresses.LOOKUP_SECONDS:
            return
        self._looked_up = now
        found = await addresses.servers(self._urls, self._look_up)
        self._balancer.replace(found)

    def _connected(self) -> Transport:
        if self._transport is None:
            self._transport = Transport(self.service, self._token)
        return self._transport


def model_path(model: str, version: str | None = None) -> str:
    """A model's path at a server."""
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(version, safe='')}"


def _encoded(request: InferRequest, binary: bool) -> tuple[bytes, int | None]:
    if not binary:
        return encode_json_request(request), None
    parts, length = encode_request(request._replace(binary=True))
    return b"".join(parts), length


def _says_no(body: bytes) -> bool:
    """Whether a health answer of status 200 says "no" in its body, as some servers do."""
    try:
        document = orjson.loads(body) if body else None
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and False in {document.get("ready"), document.get("live")}


def _metadata(document: dict[str, Any], model: str) -> ModelMetadata:
    try:
        return ModelMetadata(
            str(document.get("name", model)),
            tuple(str(one) for one in document.get("versions") or ()),
            str(document.get("platform", "")),
            _specs(document.get("inputs")),
            _specs(document.get("outputs")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ServiceRefusedError(f"the metadata of model {model!r} is not the protocol's: {error!r}") from error


def _specs(given: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            str(one["name"]), cast("Datatype", str(one["datatype"])), tuple(int(length) for length in one["shape"])
        )
        for one in given or ()
    )
