"""The input column of a batch: which rows fit the card, and their values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic import foreign
from airflow_agentic.exceptions import RecordError
from airflow_agentic.tables import INPUT

if TYPE_CHECKING:
    from airflow_agentic.spec.model import InputType

KINDS: Final[dict[InputType, tuple[str, ...]]] = {
    "image": ("bytes", "uri"),
    "bytes": ("bytes", "uri"),
    "text": ("text",),
    "tabular": ("struct",),
    "json": ("struct", "tensor"),
    "tensor": ("tensor",),
}
"""The record kinds that a card's ``input`` takes."""

FIELDS: Final = {"text": "text", "struct": "text", "tensor": "text", "bytes": "data", "uri": "uri"}
"""Where in ``tables.INPUT`` a record of each kind has its value."""

_PLACES: Final = {kind: INPUT.get_field_index(field) for kind, field in FIELDS.items()}


def payloads(batch: pa.Table, wanted: InputType) -> tuple[list[Any], dict[int, RecordError]]:
    """The raw value of each row: text, JSON text, bytes, or the URI of a ``uri`` record.

    :returns: one value a row (``None`` where it is bad), and the errors (``wrong_input``) of the bad rows.
    """
    column = batch.column("input").combine_chunks()
    fields = column.flatten()
    kinds = KINDS[wanted]
    values = fields[_PLACES[kinds[0]]]
    if values.null_count == 0 and pc.all(pc.equal(fields[0], kinds[0])).as_py():
        return values.to_pylist(), {}
    found = fields[0].to_pylist()
    columns = {kind: fields[_PLACES[kind]].to_pylist() for kind in kinds}
    loaded = [columns[kind][row] if kind in columns else None for row, kind in enumerate(found)]
    return loaded, {row: wrong(found[row], wanted) for row, value in enumerate(loaded) if value is None}


def kind_of(batch: pa.Table) -> list[str | None]:
    """The ``kind`` of each row."""
    kinds: list[str | None] = batch.column("input").combine_chunks().flatten()[0].to_pylist()
    return kinds


def from_json(text: str) -> Any:
    """The value of a ``struct`` or ``tensor`` record.

    :raises RecordError: ``wrong_input``, it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise RecordError("wrong_input", f"the input is not JSON: {error}") from error


def read(value: bytes | str) -> bytes:
    """The bytes of a ``bytes`` or ``uri`` record.

    :raises RecordError: as :func:`airflow_agentic.foreign.read`.
    """
    if isinstance(value, bytes):
        return value
    return foreign.read(value)


def wrong(kind: str | None, wanted: InputType) -> RecordError:
    """What is wrong with a record of ``kind``, or with one that has no value."""
    takes = " or ".join(KINDS[wanted])
    if kind in KINDS[wanted]:
        return RecordError("wrong_input", f"the record's input of kind {kind!r} is empty (null)")
    return RecordError(
        "wrong_input", f"the record's input is of kind {kind!r}; a model with input {wanted!r} takes {takes}"
    )
