"""SIGTERM: the shard in hand is finished if there is time, and the next one is not begun.

Kubernetes sends SIGTERM, waits for the pod's grace period and then kills. Whatever happens, what is committed stays and
a retry goes on after it.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

from airflow_agentic.container.exits import Exit
from airflow_agentic.exceptions import ModelUnavailableError

GRACE_SECONDS: Final = 25.0
"""Of Kubernetes' default of 30, to finish what is in hand."""


SIGTERM: Final = "the container was asked to stop (SIGTERM)"


class Stop:
    """Of one unit: whether it is to stop.

    :param grace: seconds from the signal until a running batch is cut off.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._why: str | None = None
        self._model: object = None
        self._timer: threading.Timer | None = None

    def listen(self) -> None:
        """From now on SIGTERM is heard; only the main thread may call this."""
        signal.signal(signal.SIGTERM, lambda signum, frame: self.terminate())

    def ask(self, why: str) -> None:
        """Stop after the shard in hand, however long that takes; from any thread. The first reason counts."""
        self._why = self._why or why

    def terminate(self) -> None:
        """SIGTERM: stop after the shard in hand, or when the grace is over."""
        self.ask(SIGTERM)
        if self._timer is None:
            self._timer = threading.Timer(self._grace, self._cut)
            self._timer.daemon = True
            self._timer.start()

    def watch(self, model: object) -> None:
        """The loaded model: what is cut off when the time is over."""
        self._model = model

    def check(self) -> None:
        """Between two shards.

        :raises ModelUnavailableError: it is to stop; says why.
        """
        if self._why is not None:
            raise ModelUnavailableError(self._why)

    def close(self) -> None:
        """The unit is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _cut(self) -> None:
        kill = getattr(self._model, "kill", None)
        if kill is None:
            os._exit(Exit.RETRY)  # an inline model cannot be ended by itself
        kill()
