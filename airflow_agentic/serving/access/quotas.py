"""Quotas: how much each client may ask of this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from airflow_agentic.serving.access.base import Client


class Quotas:
    """What clients have left. For one thread: that of the event loop.

    :param clock: seconds, monotonic.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def admit(self, client: Client, *, records: int) -> AbstractContextManager[None]:
        """Count a request with so many records, and hold its place until the context ends.

        What is refused costs nothing.

        :raises QuotaExceededError: not now; ``retry_after`` is in how many seconds.
        :raises QuotaTooSmallError: never: the request has more records than the quota lets through at once.
        """
        raise NotImplementedError
