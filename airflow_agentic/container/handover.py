"""Handing a unit to the warm model of the same container, and asking whether there is one.

Over a unix socket, in JSON lines. The client's one line is ``{"unit": UnitReference}`` or ``{"ready": true}``. To a
unit the server answers with the log lines of that unit as they come, and last with ``{"end": LastWords}`` or
``{"end": null}``. The end of what the client says asks to stop after the shard in hand, whether SIGTERM told it to or
it is gone.

Imports nothing of Arrow: each unit is a process of its own, beside a model that has taken the container's memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import IO, Any

from airflow_agentic.container.exits import Exit, LastWords
from airflow_agentic.container.reference import UnitReference
from airflow_agentic.container.stop import SIGTERM
from airflow_agentic.exceptions import ModelUnavailableError


def hand_over(reference: UnitReference, path: Path, grace: float, *, attached: bool = False) -> int:
    """Have the warm model work through a unit; returns the exit code of that.

    Its log goes to stderr as it comes, and the last words of a unit that failed to stdout.

    :param grace: seconds after SIGTERM to wait for the shard in hand.
    :param attached: whether the end of stdin is a SIGTERM: who executes this in a container cannot send one.
    """
    try:
        with _connected(path, {"unit": vars(reference)}) as connection, connection.makefile("r") as lines:
            _stop_at_sigterm(connection, grace)
            if attached:
                threading.Thread(target=_terminate_at_the_end_of_stdin, daemon=True).start()
            words = _listen(lines)
    except (ModelUnavailableError, OSError) as error:
        words = LastWords.of(error)
        words.say(error)
    if words is None:
        return Exit.DONE
    sys.stdout.write(words.to_json() + "\n")
    return words.code


def ready(path: Path) -> int:
    """0 where a warm model answers, loaded and perhaps at work; else 75."""
    try:
        with _connected(path, {"ready": True}) as connection, connection.makefile("r") as lines:
            _listen(lines)
    except (ModelUnavailableError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return Exit.RETRY
    return Exit.DONE


def _connected(path: Path, request: dict[str, Any]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
    except OSError as error:
        connection.close()
        raise ModelUnavailableError(
            f"no warm model answers at {path} ({error.strerror}): it is being loaded, or its container ended"
        ) from error
    return connection


def _listen(lines: IO[str]) -> LastWords | None:
    """Show what the server says, up to the end."""
    for line in lines:
        said = json.loads(line)
        if "end" in said:
            return None if said["end"] is None else LastWords(**said["end"])
        sys.stderr.write(line)
        sys.stderr.flush()
    raise ModelUnavailableError("the warm model ended before the unit did; what it committed stays")


def _stop_at_sigterm(connection: socket.socket, grace: float) -> None:
    def stop(*_: object) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        signal.setitimer(signal.ITIMER_REAL, grace)

    def give_up(*_: object) -> None:
        raise ModelUnavailableError(f"{SIGTERM}; the shard in hand took longer than {grace:g} s")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, give_up)


def _terminate_at_the_end_of_stdin() -> None:
    while os.read(0, 4096):  # not by sys.stdin, whose lock would hang the end of this process
        pass
    os.kill(os.getpid(), signal.SIGTERM)
