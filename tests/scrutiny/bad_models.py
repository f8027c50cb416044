"""Models that misbehave as their input says, for the tests of bad input."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

import pyarrow as pa

from airflow_agentic import tables
from airflow_agentic.exceptions import RecordError


def mood(text: str) -> Any:
    """Answers ``good`` or ``bad`` unless the text is one of its orders."""
    return _ORDERS[text]() if text in _ORDERS else "bad" if "bad" in text else "good"


ASKED: list[str] = []
"""Every text that :func:`asked` was given, in a model of this process."""


def asked(text: str) -> str:
    """Notes what it was asked; ``fill FOLDER`` leaves no room on that folder's disk when it is asked first."""
    ASKED.append(text)
    order, _, folder = text.partition(" ")
    if order == "fill" and ASKED.count(text) == 1:
        with contextlib.suppress(OSError), open(os.path.join(folder, "ballast"), "wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    return "good"


def size(content: Any) -> float:
    """How much there is of an input: of text characters, of bytes bytes, of a URI what lies behind it."""
    if isinstance(content, str) and content.startswith("/"):
        from airflow_agentic.runtime.inputs import read

        return float(len(read(content)))
    return float(len(content))


class TooSadError(RecordError):
    """An error class of the handler's own."""


class UnspeakableError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise ValueError("not even that")


class Tables:
    """A handler of whole batches; the first record's text says what is wrong with its answer."""

    def predict(self, batch: pa.Table) -> Any:
        texts = [one["text"] for one in batch.column("input").to_pylist()]
        wrong = next((text for text in texts if text in _TABLES), None)
        if wrong is not None:
            return _TABLES[wrong](len(texts))
        return tables.table([{"label": "good", "score": 1.0} for _ in texts], tables.RESULT)


class Fields:
    """A handler whose answers are JSON of its own making."""

    def predict(self, batch: pa.Table) -> pa.Table:
        texts = [one["text"] for one in batch.column("input").to_pylist()]
        return pa.table({"output": pa.array([_FIELDS.get(text, '{"city": "Oslo"}') for text in texts], pa.string())})


def fields(text: str) -> dict[str, Any]:
    """A handler of fields, some of which no file can hold."""
    return {"city": {"surrogate": "half \ud800", "number": 7}.get(text, "Oslo")}


def _raise(error: Exception) -> Any:
    raise error


def _grow() -> str:
    hoard = [bytearray(2**26) for _ in range(16)]
    threading.Event().wait()
    return str(len(hoard))


def _fill() -> Any:
    """One record of several megabytes of error message."""
    raise ValueError("x" * 5_000_000)


def _chatter() -> str:
    """Prints 32 MB without a line's end, as a progress bar does, and a terminal's escape codes."""
    for _ in range(32):
        sys.stdout.write("." * 2**20)
    sys.stdout.write("\x1b[2Jend\n")
    return "good"


_ORDERS: dict[str, Any] = {
    "raise": lambda: _raise(KeyError("no such mood")),
    "raise own": lambda: _raise(TooSadError("too_sad", "this is too sad")),
    "raise odd code": lambda: _raise(RecordError("no code\n" + "y" * 100, "as it is")),
    "raise surrogate": lambda: _raise(ValueError("half \udc80")),
    "raise unspeakable": lambda: _raise(UnspeakableError()),
    "raise much": _fill,
    "starve": lambda: _raise(MemoryError("1 TB")),
    "sys.exit": lambda: sys.exit(3),
    "exit": lambda: os._exit(7),
    "hang": lambda: threading.Event().wait(),
    "grow": _grow,
    "chatter": _chatter,
    "nan": lambda: ("good", float("nan")),
    "infinite": lambda: {"good": float("inf"), "bad": 0.0},
    "nothing": lambda: None,
    "a number": lambda: 7,
    "stranger": lambda: ("odd", 1.0),
    "surrogate": lambda: "go\ud800d",
}
_TABLES: dict[str, Any] = {
    "too few": lambda rows: tables.table([{"label": "good"}] * (rows - 1), tables.RESULT),
    "too many": lambda rows: tables.table([{"label": "good"}] * (rows + 1), tables.RESULT),
    "wrong type": lambda rows: pa.table({"label": pa.array(["good"] * rows), "score": pa.array(["much"] * rows)}),
    "wrong column": lambda rows: pa.table({"mood": ["good"] * rows}),
    "no table": lambda rows: "good",
    "short list": lambda rows: ["good"] * (rows - 1),
    "raise own": lambda rows: _raise(TooSadError("too_sad", "this is too sad")),
}
_FIELDS = {"no json": "{", "nan json": '{"city": NaN}', "other": '{"city": 7}', "text": '"Oslo"'}
