"""Arrays as a table, and back through the pipe's messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openinference_strategies import same, tensors

from airflow_agentic.openinference.tensors import Tensor
from airflow_agentic.runtime import array_tables, framing


def sent(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """``arrays`` as the other end of the pipe reads them."""
    header, body = framing.pack({"do": "run"}, array_tables.to_table(arrays))
    start = framing.LENGTHS.size
    _, table = framing.unpack(header[start:], body)
    assert table is not None
    return array_tables.from_table(table)


@given(st.lists(tensors(text=False), max_size=3, unique_by=lambda one: one.name))
def test_arrays_are_read_as_they_were(given_tensors: list[Tensor]) -> None:
    arrays = {one.name: one.array for one in given_tensors}
    found = sent(arrays)
    assert list(found) == list(arrays)
    assert all(same(found[name], array) for name, array in arrays.items())


def test_strings_and_other_layouts() -> None:
    found = sent(
        {"": np.array(["é", "a"]), "t": np.arange(6, dtype=">i2").reshape(2, 3).T, "n": np.float32(2.5).reshape(())}
    )
    assert found[""].tolist() == ["é".encode(), b"a"]
    assert found["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["n"].shape == ()


def test_an_array_without_a_datatype() -> None:
    with pytest.raises(ValueError, match=r"^an array of complex128 has no datatype of the protocol: "):
        array_tables.to_table({"x": np.zeros(1, complex)})


def test_what_is_read_is_in_whole_words() -> None:
    """Frameworks read arrays without a look at their address; headers have any length."""
    for length in range(70):
        header, body = framing.pack({"x": "y" * length}, array_tables.to_table({"a": np.zeros(9)}))
        buffer = bytearray(b"".join([header, body])[framing.LENGTHS.size :])
        view = memoryview(buffer)
        split = len(header) - framing.LENGTHS.size
        _, table = framing.unpack(view[:split], view[split:])
        assert table is not None
        assert array_tables.from_table(table)["a"].flags.aligned
