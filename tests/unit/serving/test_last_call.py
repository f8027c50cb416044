from __future__ import annotations

import errno
import select
import socket
import sys

import pytest

from airflow_agentic.serving.last_call import refuse_new
from airflow_agentic.serving.processes import listen


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the filter is of Linux")
def test_after_the_last_call_nobody_new_comes_in_but_those_that_had_connected_are_heard() -> None:
    with listen("127.0.0.1", 0) as bound, socket.socket() as before, socket.socket() as after:
        bound.listen()
        before.connect(bound.getsockname())
        refuse_new(bound)
        after.setblocking(False)
        assert after.connect_ex(bound.getsockname()) == errno.EINPROGRESS
        assert select.select([], [after], [], 0.05) == ([], [], [])
        before.sendall(b"hello")
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.recv(5) == b"hello"
