"""The last moments of a listening socket: no new connections, but none of those that clients have is lost.

Closing it resets the connections that the kernel holds and nobody has accepted yet, so a client would lose its request.
On Linux a filter drops what asks for a new connection: a client that asks again, after a second, finds nobody and goes
elsewhere. What has connected is accepted and answered meanwhile.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

SO_ATTACH_FILTER: Final = 26
"""Of Linux; Python has no name for it."""
_FLAGS: Final = 13
"""The place of TCP's flags in its header."""
_SYN: Final = 0x02
_SYN_ACK: Final = 0x12
_INSTRUCTION: Final = struct.Struct("=HBBI")
_ALL: Final = 0xFFFFFFFF
_PROGRAM: Final = (
    (0x30, 0, 0, _FLAGS),  # load the byte
    (0x54, 0, 0, _SYN_ACK),  # and
    (0x15, 0, 1, _SYN),  # if it is SYN alone
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, _ALL),  # else keep
)


def refuse_new(listening: socket.socket) -> None:
    """Let the kernel drop requests for new connections to ``listening``; elsewhere than on Linux nothing."""
    if not sys.platform.startswith("linux"):
        return
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*one) for one in _PROGRAM))
    with suppress(OSError):  # a kernel that does not: connections of the last moment are reset
        listening.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(_PROGRAM), ctypes.addressof(code))
        )
