"""Requests of the Open Inference Protocol that are almost right: made by chance, the same for the same seed."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

STRANGE: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    1e308,
    -0.0,
    "",
    "x" * 300,
    "\u0000\ud7ff💥",
    [],
    {},
    [[]],
    {"a": {"b": [None]}},
)
DATATYPES: Final = ("BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16", "fp32", "")


@dataclass
class Message:
    """A request before it is sent."""

    document: dict[str, Any]
    tail: bytes
    headers: dict[str, str] = field(default_factory=dict)
    length: int = 0
    """Added to the true length of the JSON in its header."""

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        """Body and headers."""
        head = json.dumps(self.document).encode()
        known = {"Inference-Header-Content-Length": str(len(head) + self.length)}
        return head + self.tail, {**known, **self.headers}


Change = Callable[[random.Random, Message], None]


def tensor_message(chance: random.Random) -> Message:
    """For a model that takes ``x``, FP32 ``[-1, 3]``."""
    rows = chance.randrange(4)
    tail = struct.pack(f"<{3 * rows}f", *(chance.gauss(0.0, 1.0) for _ in range(3 * rows)))
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, 3], "parameters": {"binary_data_size": len(tail)}}
    return Message({"inputs": [tensor], "parameters": {"binary_data_output": chance.random() < 0.5}}, tail)


def record_message(chance: random.Random) -> Message:
    """For a model that takes ``text``, and may be given ``features``."""
    texts = [chance.choice([b"good", b"", b"\xff\xfe", "💥".encode(), b"x" * 5000]) for _ in range(chance.randrange(4))]
    values = [
        b'{"language": "en"}',
        b"{}",
        b'{"max_latency_ms": "x"}',
        b'{"a": [1, {}]}',
        b'{"a": 1}',
        b"[]",
        b"{",
        b"",
    ]
    features = [chance.choice(values) for _ in texts]
    inputs, tail = [], b""
    for name, elements in [("text", texts), ("features", features)][: chance.randrange(1, 3)]:
        data = b"".join(struct.pack("<I", len(one)) + one for one in elements)
        parameters = {"binary_data_size": len(data)}
        inputs.append({"name": name, "datatype": "BYTES", "shape": [len(elements)], "parameters": parameters})
        tail += data
    outputs = [{"name": name} for name in ("label", "error", "scores", "nothing") if chance.random() < 0.3]
    return Message({"inputs": inputs, **({"outputs": outputs} if outputs else {})}, tail)


def _tensor(chance: random.Random, message: Message) -> dict[str, Any]:
    return chance.choice(message.document["inputs"]) if message.document.get("inputs") else {}


def strange_value(chance: random.Random, message: Message) -> None:
    """Anywhere in the JSON."""
    place: Any = message.document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or chance.random() < 0.3:
            place[key] = chance.choice(STRANGE)
            return
        place = place[key]


def strange_shape(chance: random.Random, message: Message) -> None:
    """Of a tensor."""
    lengths = (0, 1, 3, -1, 2**20, 2**31, 2**62, 2**64)
    _tensor(chance, message)["shape"] = [chance.choice(lengths) for _ in range(chance.choice((0, 1, 2, 3, 40)))]


def strange_datatype(chance: random.Random, message: Message) -> None:
    """Of a tensor."""
    _tensor(chance, message)["datatype"] = chance.choice(DATATYPES)


def strange_size(chance: random.Random, message: Message) -> None:
    """Of the binary data."""
    sizes = (0, 1, 4, 11, 13, -1, 2**31, 2**63)
    _tensor(chance, message)["parameters"] = {"binary_data_size": chance.choice(sizes)}


def json_data(chance: random.Random, message: Message) -> None:
    """In place of binary, or beside it."""
    tensor = _tensor(chance, message)
    tensor["data"] = chance.choice(
        [[1, 2, 3], [[1, 2, 3]], ["a"], [None], [1e400], [2**70], [[1], 2], "abc", 5, [[[]]]]
    )
    if chance.random() < 0.7:
        tensor.pop("parameters", None)
        message.tail = b""


def flipped(chance: random.Random, message: Message) -> None:
    """Bytes of the binary data."""
    tail = bytearray(message.tail)
    for _ in range(min(len(tail), 4)):
        tail[chance.randrange(len(tail))] = chance.randrange(256)
    message.tail = bytes(tail)


def cut(chance: random.Random, message: Message) -> None:
    """The end is missing, or there is more."""
    message.tail = (
        message.tail[: chance.randrange(len(message.tail) + 1)] if chance.random() < 0.7 else message.tail * 2
    )


def wrong_length(chance: random.Random, message: Message) -> None:
    """Of the JSON."""
    message.length = chance.choice([-1, 1, -10, 10, 10**6])


def strange_header(chance: random.Random, message: Message) -> None:
    """One that the server looks at."""
    name = chance.choice(
        ["Inference-Header-Content-Length", "X-Request-Timeout-Ms", "Content-Encoding", "Accept-Encoding"]
    )
    message.headers[name] = chance.choice(
        ["", "-1", "0", "1e3", "x", "9" * 30, "gzip", "deflate", "br", "gzip, gzip", "*"]
    )


def doubled(chance: random.Random, message: Message) -> None:
    """A tensor twice."""
    inputs = message.document.get("inputs")
    if isinstance(inputs, list) and inputs:
        inputs.append(chance.choice(inputs))


CHANGES: Final[tuple[Change, ...]] = (
    strange_value,
    strange_shape,
    strange_datatype,
    strange_size,
    json_data,
    flipped,
    cut,
    wrong_length,
    strange_header,
    doubled,
)


def fuzzed(chance: random.Random, make: Callable[[random.Random], Message]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request with up to three changes."""
    message = make(chance)
    for change in chance.sample(CHANGES, chance.randrange(4)):
        if isinstance(message.document.get("inputs"), list) and all(
            isinstance(one, dict) for one in message.document["inputs"]
        ):
            change(chance, message)
    body, headers = message.encoded()
    kind = chance.random()
    if kind < 0.05:
        body = bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    elif kind < 0.1:
        position = chance.randrange(len(body) + 1)
        body = body[:position] + bytes([chance.randrange(256)]) + body[position:]
    elif kind < 0.2:
        packed = gzip.compress(body)
        body = packed[: len(packed) - chance.choice((0, 0, 1, 8))]
        headers["Content-Encoding"] = "gzip"
    return body, headers
