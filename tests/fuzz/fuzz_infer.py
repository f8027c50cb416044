"""Fuzz requests of the Open Inference Protocol: whatever the bytes are, a request or a ProtocolError.

    python tests/fuzz/fuzz_infer.py -max_total_time=60 CORPUS

The arguments are libFuzzer's. The first four bytes of a case are ``Inference-Header-Content-Length``, all ones for
none; the others are the body. A request that was read is written and read again, and must be the same.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["airflow_agentic.openinference"]):
    import numpy as np
    from openinference_strategies import same_tensors

    from airflow_agentic.exceptions import ProtocolError
    from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES
    from airflow_agentic.openinference.rest import decode_request, encode_json_request, encode_request
    from airflow_agentic.openinference.tensors import InferRequest, RequestedOutput, Tensor

LENGTH = struct.Struct("<I")
NONE = 2**32 - 1


def try_bytes(content: bytes) -> None:
    """One case. Any error but :class:`ProtocolError`, or a difference, ends the fuzzing."""
    if len(content) < LENGTH.size:
        return
    length, body = LENGTH.unpack_from(content)[0], content[LENGTH.size :]
    try:
        request = decode_request(body, None if length == NONE else length)
    except ProtocolError:
        return
    if sum(tensor.array.size for tensor in request.inputs) > len(body):
        raise AssertionError("more elements than bytes")
    parts, header = encode_request(request)
    same_tensors(decode_request(b"".join(parts), header).inputs, request.inputs)


def examples() -> list[bytes]:
    """A request of each datatype, as JSON and with binary data."""
    found = []
    for datatype in DATATYPES:
        array = np.array([[b"a", b"bc"]], object) if datatype == "BYTES" else np.ones((1, 2), DTYPES[datatype])
        tensors = [Tensor(name, datatype, array, {"a": 1}) for name in "xy"]
        request = InferRequest(tensors, [RequestedOutput("y", True)], "id", {"p": "v"}, True)
        parts, header = encode_request(request)
        found += [LENGTH.pack(header or 0) + b"".join(parts), LENGTH.pack(NONE) + encode_json_request(request)]
    return found


if __name__ == "__main__":
    for corpus in [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]:
        for number, example in enumerate(examples()):
            if corpus.is_dir():
                (corpus / str(number)).write_bytes(example)
    atheris.Setup(sys.argv, try_bytes)
    atheris.Fuzz()
