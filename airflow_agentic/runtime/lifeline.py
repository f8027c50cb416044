"""How a child process ends with its parent: by the end of a pipe that only the parent holds open."""

from __future__ import annotations

import fcntl
import os
import signal
from typing import Final

ORPHANED: Final = 3
"""Exit code of a process whose parent is gone."""


def end_at_the_end_of(lifeline: int) -> None:
    """Have the kernel end this process when its parent is gone, also where native code keeps the GIL for ever.

    Its default action does: no thread of ours need run. ``PR_SET_PDEATHSIG`` would fire too early, when the *thread*
    that started this process ends.

    :param lifeline: file descriptor of a pipe that nobody writes to.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        os.read(lifeline, 1)
    except BlockingIOError:
        return
    os._exit(ORPHANED)  # it had ended before the kernel was asked
