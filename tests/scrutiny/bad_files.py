"""Files and records that are not what they claim, and the small models that are asked about them."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from bad_project import Project

PIXEL = b"\x00\xff\x00\x00"
"""A row of one red pixel, as PNG filters it."""


def png(width: int, height: int, data: bytes = PIXEL) -> bytes:
    """An RGB image whose header says ``width`` and ``height``, whatever the data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def photo_card(project: Project, **changes: Any) -> None:
    """``photo``: which of red, green and blue there is most of; ONNX."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    _onnx(project, "photo", nodes, [("x", TensorProto.FLOAT, ["n", 3, 96, 96])], ["n", 3])
    project.card(
        "photo",
        task="image-classification",
        input="image",
        classes=("red", "green", "blue"),
        runtime={"framework": "onnx", "artifact": "photo.onnx", "image": {"resize": 96, "crop": 96}},
        **changes,
    )


def net_card(project: Project) -> None:
    """``net``: which of three numbers is the largest; ONNX."""
    from onnx import TensorProto, helper

    _onnx(project, "net", [helper.make_node("Identity", ["x"], ["y"])], [("x", TensorProto.FLOAT, ["n", 3])], ["n", 3])
    project.card(
        "net",
        task="tabular-classification",
        input="tensor",
        classes=("a", "b", "c"),
        runtime={"framework": "onnx", "artifact": "net.onnx", "activation": "softmax"},
    )


def _onnx(project: Project, name: str, nodes: list[Any], inputs: list[tuple[str, int, Any]], shape: list[Any]) -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = project.root / "models" / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())


def write_files(root: Path) -> None:
    """What the records of :data:`GOOD` and :data:`BAD` name, below ``root``, and a secret beside it."""
    (root / "red.png").write_bytes(png(1, 1))
    (root / "truncated.png").write_bytes(jpeg(99, 99)[:700])
    (root / "bomb.png").write_bytes(png(60_000, 60_000))
    (root / "large.png").write_bytes(png(10_000, 10_000))
    (root / "narrow.png").write_bytes(png(1, 1_000_000, PIXEL * 1_000_000))
    (root / "empty.png").write_bytes(b"")
    (root / "no-frames.gif").write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    (root / "program.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) run\n")
    (root / "text.png").write_text("no image at all")
    os.mkfifo(root / "pipe.png")
    (root / "zero.png").symlink_to("/dev/zero")
    (root / "gone.png").symlink_to("nowhere.png")
    (root / "loop.png").symlink_to("loop.png")
    (root / "folder.png").mkdir()
    with (root / "endless.png").open("wb") as file:
        file.truncate(10 * 2**30)  # sparse: takes no room


def _bytes(content: bytes) -> str:
    return base64.b64encode(content).decode()


def jpeg(width: int, height: int) -> bytes:
    """A blue photo."""
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (width, height), (0, 0, 255)).save(content, "JPEG")
    return content.getvalue()


GOOD: list[Any] = [
    {"id": "good text", "text": "a good day"},
    {"id": "bad text", "text": "a bad day"},
    {"id": "empty text", "text": ""},
    {"id": "red", "uri": "red.png"},
    {"id": "blue", "bytes": _bytes(jpeg(9, 9))},
    {"id": "tensor", "input": [0.0, 2.0, 1.0]},
]
ANSWERS = {"good text": "good", "bad text": "bad", "empty text": "good", "red": "red", "blue": "blue", "tensor": "b"}
BAD: dict[str, Any] = {
    **{
        name: {"id": name, "uri": f"{name}.png"}
        for name in (
            "missing",
            "truncated",
            "bomb",
            "large",
            "narrow",
            "empty",
            "text",
            "pipe",
            "zero",
            "gone",
            "loop",
            "folder",
            "endless",
        )
    },
    "no frames": {"id": "no frames", "uri": "no-frames.gif"},
    "program": {"id": "program", "uri": "program.eps"},
    "no bytes": {"id": "no bytes", "bytes": ""},
    "no base64": {"id": "no base64", "bytes": "?"},
    "climbs": {"id": "climbs", "uri": "../secret.png"},
    "absolute": {"id": "absolute", "uri": "/etc/passwd"},
    "as file": {"id": "as file", "uri": "file:///etc/passwd"},
    "climbs encoded": {"id": "climbs encoded", "uri": "s3://bucket/%2e%2e/secret.png"},
    "remote": {"id": "remote", "uri": "http://127.0.0.1:1/a.png"},
    "chained": {"id": "chained", "uri": "simplecache::file:///etc/passwd"},
    "nul": {"id": "nul", "uri": "red.png\x00.txt"},
    "empty uri": {"id": "empty uri", "uri": " "},
    "nan": b'{"id": "nan", "input": [NaN, 1.0, 2.0]}',
    "infinite": b'{"id": "infinite", "input": [1e999, 1.0, 2.0]}',
    "huge": {"id": "huge", "input": [10**400, 1, 2]},
    "short": {"id": "short", "input": [1.0, 2.0]},
    "deep tensor": {"id": "deep tensor", "input": [[1.0, 2.0, 3.0]]},
    "ragged": {"id": "ragged", "input": [[1.0], [2.0, 3.0]]},
    "words": {"id": "words", "input": ["a", "b", "c"]},
    "no numbers": {"id": "no numbers", "input": []},
    "struct": {"id": "struct", "input": {"a": 1}},
    "unknown task": {"id": "unknown task", "task": "mind-reading", "text": "what am I thinking"},
    "no input": {"id": "no input"},
    "two inputs": {"id": "two inputs", "text": "one", "uri": "red.png"},
    "surrogate": b'{"id": "surrogate", "text": "\\ud800"}',
    "long id": {"id": "x" * 2000, "text": "an id"},
    "number as text": {"id": "number as text", "text": 7},
}
"""By name; the id is the name where the row says it and can be used."""
LINES: dict[str, bytes] = {
    "not UTF-8": b'{"id": "l1", "text": "caf\xe9"}',
    "UTF-16": '{"id": "l2", "text": "hello"}'.encode("utf-16"),
    "no JSON": b"{'id': 'l3'}",
    "cut off": b'{"id": "l4", "text": "hel',
    "too deep": b"[" * 100_000 + b"]" * 100_000,
    "long number": b'{"id": "l6", "text": "x", "n": ' + b"1" * 5000 + b"}",
    "a list": b"[1, 2]",
    "null": b"null",
}
"""Lines that are no record; their ids are derived."""
