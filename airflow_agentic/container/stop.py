"""SIGTERM: the shard in hand is finished if there is time, and the next one is not begun.

Kubernetes sends SIGTERM, waits for the pod's grace period and then kills. Whatever happens, what is committed stays and
a retry goes on after it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Final

from airflow_agentic.container.exits import Exit
from airflow_agentic.exceptions import ModelUnavailableError

GRACE_SECONDS: Final = 25.0
"""Of Kubernetes' default of 30, to finish what is in hand."""


class Stop:
    """Listens for SIGTERM.

    :param grace: seconds from the signal until a running batch is cut off.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._asked = threading.Event()
        self._model: object = None
        self._timer: threading.Timer | None = None

    def listen(self) -> None:
        """From now on SIGTERM is heard; only the main thread may call this."""
        signal.signal(signal.SIGTERM, self._hear)

    def watch(self, model: object) -> None:
        """The loaded model: what is cut off when the time is over."""
        self._model = model

    def check(self) -> None:
        """Between two shards.

        :raises ModelUnavailableError: SIGTERM was heard.
        """
        if self._asked.is_set():
            raise ModelUnavailableError("the container was asked to stop (SIGTERM)")

    def close(self) -> None:
        """The unit is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        if not self._asked.is_set():
            self._asked.set()
            self._timer = threading.Timer(self._grace, self._cut)
            self._timer.daemon = True
            self._timer.start()

    def _cut(self) -> None:
        kill = getattr(self._model, "kill", None)
        if kill is None:
            os._exit(Exit.RETRY)  # an inline model cannot be ended by itself
        kill()
