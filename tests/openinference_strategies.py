"""Hypothesis strategies of the Open Inference Protocol's messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from airflow_agentic.openinference.datatypes import DATATYPES, DTYPES
from airflow_agentic.openinference.tensors import InferRequest, InferResponse, RequestedOutput, Tensor

names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
parameters = st.dictionaries(
    names.filter(lambda name: not name.startswith("binary_data")),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=5) | st.booleans() | st.integers(-(2**53), 2**53),
    max_size=2,
)
shapes = st.lists(st.integers(0, 3), max_size=4).map(tuple)


def arrays(datatype: str, *, text: bool) -> st.SearchStrategy[npt.NDArray[Any]]:
    """Arrays of a datatype.

    :param text: whether JSON must be able to say it: finite numbers, UTF-8.
    """
    if datatype == "BYTES":
        one = st.text(st.characters(exclude_categories=("Cs",)), max_size=6).map(str.encode)
        return shapes.flatmap(
            lambda shape: hnp.arrays(object, shape, elements=one if text else one | st.binary(), fill=st.nothing())
        )
    dtype = DTYPES[datatype]
    finite = {"allow_nan": not text, "allow_infinity": not text} if dtype.kind == "f" else {}
    return hnp.arrays(dtype, shapes, elements=hnp.from_dtype(dtype, **finite))


def tensors(*, text: bool) -> st.SearchStrategy[Tensor]:
    """Named arrays of any datatype."""
    return st.sampled_from(DATATYPES).flatmap(
        lambda datatype: st.builds(Tensor, names, st.just(datatype), arrays(datatype, text=text), parameters)
    )


def requests(*, text: bool) -> st.SearchStrategy[InferRequest]:
    """Requests; each name stands once."""
    outputs = st.builds(RequestedOutput, names, st.none() if text else st.none() | st.booleans(), parameters)
    return st.builds(
        InferRequest,
        st.lists(tensors(text=text), min_size=1, max_size=3, unique_by=lambda one: one.name),
        st.lists(outputs, max_size=2, unique_by=lambda one: one.name),
        st.none() | names,
        parameters,
        st.just(False) if text else st.booleans(),
    )


def responses(*, text: bool) -> st.SearchStrategy[InferResponse]:
    """Responses; each name stands once."""
    return st.builds(
        InferResponse,
        names,
        st.lists(tensors(text=text), max_size=3, unique_by=lambda one: one.name),
        st.none() | names,
        st.none() | names,
        parameters,
    )


def same(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> bool:
    """Whether two arrays are one to the last bit (of NaN: that it is one)."""
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return False
    if found.dtype.kind == "f":
        return np.array_equal(found, wanted, equal_nan=True) and np.array_equal(np.signbit(found), np.signbit(wanted))
    return bool(np.array_equal(found, wanted))


def same_tensors(found: Any, wanted: Any) -> None:
    """Assert that two lists of tensors say the same."""
    assert [(one.name, one.datatype, dict(one.parameters)) for one in found] == [
        (one.name, one.datatype, dict(one.parameters)) for one in wanted
    ]
    for mine, its in zip(found, wanted, strict=True):
        assert same(mine.array, its.array), (mine, its)
