"""How a container's process ends: an exit code, and the last error as JSON for whoever started it.

==== ===================== =====================================================================
code name                  meaning
==== ===================== =====================================================================
0    ``DONE``              everything that was asked is committed
65   ``BAD_INPUT``         the run's data cannot be used; the same input fails again
70   ``BAD_MODEL``         the model cannot be loaded or used, or its bytes are others; not retried
75   ``RETRY``             a store, a time limit, SIGTERM: what is committed stays, retrying can help
78   ``BAD_CONFIGURATION`` the command, a spec, credentials or a plan is wrong; not retried
137  ``OUT_OF_MEMORY``     the kernel's own code for a killed process; retrying helps with more memory
==== ===================== =====================================================================

65 to 78 are the names of BSD's ``sysexits.h``.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final, Self

from airflow_agentic.exceptions import (
    AgenticError,
    ChecksumError,
    InputError,
    ModelError,
    ModelMemoryError,
    RecordError,
)

log = logging.getLogger(__name__)

TERMINATION_LOG: Final = Path("/dev/termination-log")
"""Where Kubernetes reads a container's last message; the operator finds it in the pod's status."""
MOST: Final = 4096
"""Bytes that Kubernetes keeps of it."""


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    BAD_INPUT = 65
    BAD_MODEL = 70
    RETRY = 75
    BAD_CONFIGURATION = 78
    OUT_OF_MEMORY = 137

    @property
    def retryable(self) -> bool:
        """Whether the same container can succeed later."""
        return self in {Exit.RETRY, Exit.OUT_OF_MEMORY}

    @classmethod
    def of(cls, error: BaseException) -> Exit:
        """The code for what went wrong."""
        if isinstance(error, MemoryError | ModelMemoryError):
            return cls.OUT_OF_MEMORY
        if not isinstance(error, AgenticError) or error.retryable:
            return cls.RETRY  # of what nobody foresaw the task's retries decide
        if isinstance(error, InputError | RecordError):
            return cls.BAD_INPUT
        if isinstance(error, ModelError | ChecksumError):
            return cls.BAD_MODEL
        return cls.BAD_CONFIGURATION


@dataclass(frozen=True, kw_only=True)
class LastWords:
    """The last error of a container's process."""

    code: int
    error: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What is said of ``error``."""
        return cls(code=Exit.of(error), error=type(error).__name__, message=str(error))

    @property
    def retryable(self) -> bool:
        """Whether another try can help; of a code that is none of ours it may."""
        return self.code not in list(Exit) or Exit(self.code).retryable

    def to_json(self) -> str:
        """In at most :data:`MOST` bytes; a longer message is cut."""
        message = self.message
        while len(text := json.dumps({**asdict(self), "message": message})) > MOST:
            message = message[: len(message) - max(1, (len(text) - MOST) // 12)]
        return text

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """What :meth:`to_json` wrote; ``None`` of anything else."""
        try:
            found = json.loads(text or "")
            return cls(code=int(found["code"]), error=str(found["error"]), message=str(found["message"]))
        except (ValueError, KeyError, TypeError):
            return None

    def say(self, error: BaseException) -> None:
        """Say them in the log; what nobody foresaw with its traceback."""
        log.error("%s: %s", self.error, self.message, exc_info=error if self.code == Exit.RETRY else None)

    def write(self, path: Path = TERMINATION_LOG) -> None:
        """Leave it for Kubernetes, where there is such a file."""
        if path.exists():
            path.write_text(self.to_json())
