"""The messages between a model process and its parent.

Two pipes, one each way, strictly request then reply. A message is

====================  ==================================================
4 bytes               length of the header, unsigned, little-endian
8 bytes               length of the body, likewise
header                JSON, UTF-8; spaces fill it to whole words
body                  an Arrow IPC stream with one table; may be empty
====================  ==================================================

Requests: ``{"do": "load", "card": …, …}``, ``{"do": "predict"}`` with the records as body, ``{"do": "run"}`` with
arrays. Replies: ``{}`` with the results as body, or ``{"error": {"class": …, "args": […]}}``: a class of
``airflow_agentic.exceptions``. The end of the request pipe is the request to end.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final

import pyarrow as pa

from airflow_agentic import exceptions
from airflow_agentic.exceptions import AgenticError, ModelLoadError

LENGTHS: Final = struct.Struct("<IQ")
_ALIGNMENT: Final = 64


def pack(header: dict[str, Any], table: pa.Table | None = None) -> list[memoryview]:
    """A message, as the buffers to write one after the other."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)  # arrays are views of a message: frameworks read them in whole words
    body = memoryview(b"") if table is None else memoryview(_stream(table))
    return [memoryview(LENGTHS.pack(len(text), len(body)) + text), body]


def unpack(
    header: bytes | bytearray | memoryview, body: bytes | bytearray | memoryview
) -> tuple[dict[str, Any], pa.Table | None]:
    """Header and table of a message whose bytes were read; the table is a view of ``body``."""
    table = pa.ipc.open_stream(pa.py_buffer(body)).read_all() if len(body) else None
    return json.loads(bytes(header)), table


def pack_error(error: AgenticError) -> dict[str, Any]:
    """``error`` as a header value; one with arguments that are no strings or numbers keeps its message only.

    A class that is defined elsewhere, as by a handler, travels as the nearest of ours.
    """
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__)
    made_of = error.__reduce__()[1]
    if isinstance(made_of, tuple) and all(isinstance(argument, str | int) for argument in made_of):
        return {"class": known.__name__, "args": list(made_of)}
    return {"class": ModelLoadError.__name__, "args": [str(error)]}


def unpack_error(value: dict[str, Any]) -> AgenticError:
    """The error :func:`pack_error` was given."""
    error: AgenticError = getattr(exceptions, value["class"])(*value["args"])
    return error


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
