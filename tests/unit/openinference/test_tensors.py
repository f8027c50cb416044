"""Arrays as tensors, and what metadata says."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES, datatype_of
from airflow_agentic.openinference.tensors import InferRequest, ModelMetadata, Tensor, TensorSpec, as_bytes


def test_every_datatype_has_a_dtype_and_back() -> None:
    assert list(DTYPES) == list(DATATYPES)
    assert [datatype_of(np.empty(0, dtype)) for dtype in DTYPES.values()] == list(DATATYPES)
    assert [datatype_of(np.empty(0, dtype.newbyteorder(">"))) for dtype in DTYPES.values()] == list(DATATYPES)
    assert [datatype_of(np.empty(0, kind)) for kind in ("S3", "U3")] == ["BYTES", "BYTES"]


@pytest.mark.parametrize("dtype", ["c8", "M8[s]", "V4"])
def test_an_array_without_a_datatype(dtype: str) -> None:
    with pytest.raises(ValueError, match="has no datatype") as caught:
        Tensor.of("x", np.empty(1, dtype))
    assert str(caught.value) == (
        f"an array of {np.dtype(dtype)} has no datatype of the protocol: BOOL, UINT8, UINT16, UINT32, UINT64, INT8, "
        "INT16, INT32, INT64, FP16, FP32, FP64, BYTES"
    )


def test_strings_become_bytes() -> None:
    for given in (np.array([["é", ""]]), np.array([["é", ""]], object), np.array([["é".encode(), b""]], object)):
        assert as_bytes(given).tolist() == [["é".encode(), b""]]
    assert as_bytes(np.array([[1, None]], object)).tolist() == [[b"1", b"None"]]
    assert as_bytes(np.array(["a", "b", "c"])[::-1]).tolist() == [b"c", b"b", b"a"]


def test_an_array_that_is_right_is_not_copied() -> None:
    array = np.zeros(3, np.float32)
    assert np.shares_memory(Tensor.of("x", array).array, array)


def test_the_size_counts_strings() -> None:
    inputs = [Tensor.of("x", np.zeros(3, np.int16)), Tensor.of("t", np.array([b"abc", b""]))]
    assert InferRequest(inputs).size == 6 + 3 + 2 * 8


def test_a_spec_fits_shapes() -> None:
    spec = TensorSpec("x", "FP32", (-1, 4))
    assert [spec.fits(shape) for shape in ((0, 4), (7, 4), (7, 5), (7,), (7, 4, 1))] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_metadata_as_json() -> None:
    spec = TensorSpec("x", "FP32", (-1, 4))
    assert ModelMetadata("m", ("1",), "onnx", (spec,), (), {"a": "b"}).to_json() == {
        "name": "m",
        "versions": ["1"],
        "platform": "onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [],
        "properties": {"a": "b"},
    }
