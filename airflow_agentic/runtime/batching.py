"""Records to predictions: batches, isolation of bad records, and checks of what a model gives.

Needs nothing of a plan: the same for a loaded model, a child process and a service.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelError, RecordError
from airflow_agentic.runtime.results import as_record_error, fitting, results, with_errors
from airflow_agentic.runtime.single import Answer, checked_answer, prediction
from airflow_agentic.tables import NAME, PREDICTION, RESULT, SCORES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_agentic.runtime.base import Predictor
    from airflow_agentic.spec.model import ModelCard

ROW: Final = "row"

Rows = npt.NDArray[np.intp]


def predict_records(
    predictor: Predictor,
    card: ModelCard,
    records: pa.Table,
    *,
    top_k: int | None = None,
    clock: Callable[[], float] = time.monotonic,
    on_batch: Callable[[int], None] | None = None,
) -> pa.Table:
    """Answer ``records`` in order, in batches of at most ``card.batch`` rows and bytes.

    A batch that raises, or gives another number of rows, is tried again record by record: only the bad record becomes
    an error row (``model_error``; a :class:`RecordError`'s own code). Answers that break the contract become error
    rows: ``bad_output``, or ``unknown_label`` for a label outside a listed label space.

    :param records: ``tables.RECORD`` and feature columns; ``row`` (int32) is kept where it is present, else 0 to n-1.
    :param top_k: at most so many classes an answer; never more than the predictor gives.
    :param on_batch: called after each batch with its number of records.
    :returns: ``tables.PREDICTION``; ``latency_ms`` is the batch's time divided by its records, ``cost`` the card's for
        answers and 0 for errors.
    :raises ModelError: the model as such cannot answer (its process died, its output does not fit the card).
    """
    inputs = records.drop_columns([ROW]) if ROW in records.column_names else records
    tables, latencies = [], np.empty(records.num_rows)
    for start, stop in cuts(inputs, card):
        began = clock()
        tables.append(_answer(predictor, inputs.slice(start, stop - start)))
        latencies[start:stop] = (clock() - began) * 1000.0 / (stop - start)
        if on_batch is not None:
            on_batch(stop - start)
    found = pa.concat_tables(tables) if tables else RESULT.empty_table()
    return predictions(card, records, found, latencies, top_k=top_k)


def predictions(
    card: ModelCard, records: pa.Table, found: pa.Table, latencies: npt.NDArray[np.float64], *, top_k: int | None = None
) -> pa.Table:
    """What a model gave for ``records``, checked, as ``tables.PREDICTION``.

    :param found: ``tables.RESULT``, one row a record, in order.
    :param latencies: milliseconds a record.
    """
    if found.num_rows == 1:
        return prediction_of(card, records, found.to_pylist()[0], float(latencies[0]), top_k=top_k)
    rows = _rows(records)
    answers = checked(found, card, top_k=top_k)
    return _predictions(card, rows, records.column("record_id"), answers, latencies)


def _rows(records: pa.Table) -> Any:
    place = records.schema.get_field_index(ROW)
    return records.column(place) if place >= 0 else pa.array(np.arange(records.num_rows, dtype=np.int32))


def prediction_of(
    card: ModelCard, records: pa.Table, found: Answer, latency: float, *, top_k: int | None = None
) -> pa.Table:
    """As :func:`predictions`, of one record.

    :param latency: in milliseconds.
    """
    made = plain_prediction(card, found, latency, top_k=top_k)
    fixed = {
        "row": _array(_rows(records)),
        "record_id": _array(records.column("record_id")),
        **{name: _name(made[name], 1) for name in ("model", "model_version", "score_kind", "reason")},
    }
    return prediction(fixed, made)


def plain_prediction(card: ModelCard, found: Answer, latency: float, *, top_k: int | None = None) -> dict[str, Any]:
    """The row of :func:`prediction_of`, in plain values and without the record's names."""
    answer = checked_answer(found, card, top_k or card.output.top_k, _needed(card))
    return {
        "model": card.name,
        "model_version": card.version,
        "score_kind": card.output.score_kind if card.output.classes is not None else None,
        **answer,
        "latency_ms": latency,
        "cost": card.cost if answer["error"] is None else 0.0,
        "reason": None,
        "attempt": 1,
    }


def _array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column if isinstance(column, pa.Array) else column.combine_chunks()


def cuts(records: pa.Table, card: ModelCard) -> Iterator[tuple[int, int]]:
    """Where the batches start and stop; a record larger than ``batch.bytes`` goes alone."""
    count = records.num_rows
    if count == 1:
        yield 0, 1
        return
    sizes = _sizes(records)
    ends = np.cumsum(sizes)
    start = 0
    while start < count:
        before = ends[start] - sizes[start]
        stop = min(int(np.searchsorted(ends, before + card.batch.bytes, side="right")), start + card.batch.rows)
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _sizes(records: pa.Table) -> npt.NDArray[np.int64]:
    _, text, data, _ = records.column("input").combine_chunks().flatten()
    total = pc.add(pc.fill_null(pc.binary_length(text), 0), pc.fill_null(pc.binary_length(data), 0))
    return np.asarray(total, dtype=np.int64)


def _answer(predictor: Predictor, batch: pa.Table) -> pa.Table:
    try:
        return fitting(predictor.predict(batch), batch.num_rows)
    except (ModelError, HandlerNotAllowedError, MemoryError):
        raise
    except Exception as problem:  # noqa: BLE001  # a model is foreign code: whatever it raises is its record's error
        if batch.num_rows == 1:
            return with_errors(results(0), {0: as_record_error(problem)}, 1)
    return pa.concat_tables([_answer(predictor, batch.slice(row, 1)) for row in range(batch.num_rows)])


def checked(answers: pa.Table, card: ModelCard, *, top_k: int | None = None) -> pa.Table:
    """``answers`` with an error row for each that breaks the contract of ``tables.RESULT`` or of the card's output."""
    table = answers.combine_chunks()
    failed = _chunk(table, "error").is_valid().to_numpy(zero_copy_only=False)
    errors: dict[int, RecordError] = {}
    for code, message, rows in _violations(table, card):
        for row in rows[~failed[rows]]:
            errors.setdefault(int(row), RecordError(code, message))
    if errors:
        kept = np.array([row not in errors for row in range(table.num_rows)])
        table = with_errors(table.filter(pa.array(kept)), errors, table.num_rows).combine_chunks()
    if failed.any():
        table = _only_errors(table)
    return _sorted(table, top_k or card.output.top_k)


def _violations(table: pa.Table, card: ModelCard) -> Iterator[tuple[str, str, Rows]]:
    """Code, message and rows of each thing that is wrong."""
    for name in ("score", "value"):
        found = _not_finite(_chunk(table, name))
        yield "bad_output", f"the model gave a {name} that is not finite (NaN or infinity)", found
    scores = _chunk(table, "scores")
    labels, numbers = scores.flatten().flatten()
    yield "bad_output", "the model gave scores that are not finite", _parents(scores, _no_numbers(numbers))
    needed, column = _needed(card)
    if _chunk(table, column).null_count:
        yield "bad_output", f"the model gave no {needed}", _true(_chunk(table, column).is_null())
    if isinstance(card.output.classes, list):
        mapped = card.output.label_map
        space = pa.array({mapped.get(label, label) for label in card.output.classes}, pa.string())
        message = f"the model gave a label that is not in the card's label space ({card.output.label_space})"
        yield "unknown_label", message, _true(pc.invert(pc.is_in(_chunk(table, "label"), space)))
        yield "unknown_label", message, _parents(scores, _true(pc.invert(pc.is_in(labels, space))))


def _needed(card: ModelCard) -> tuple[str, str]:
    """What an answer must have, and in which column."""
    if card.output.classes is not None:
        return "label", "label"
    if card.output.value is not None:
        return "value", "value"
    return ("embedding" if card.output.embedding is not None else "fields"), "output"


def _chunk(table: pa.Table, name: str) -> pa.Array:
    """A column of a table whose chunks were combined; plain calls on one array are the cheapest Arrow has."""
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _not_finite(numbers: pa.Array) -> Rows:
    if numbers.null_count == len(numbers):
        return np.empty(0, np.intp)
    bad = ~np.isfinite(numbers.to_numpy(zero_copy_only=False))  # nulls are NaN there
    if numbers.null_count:
        bad &= numbers.is_valid().to_numpy(zero_copy_only=False)
    return np.flatnonzero(bad)


def _no_numbers(numbers: pa.Array) -> Rows:
    """As :func:`_not_finite`, and those that are null, which cannot be ranked."""
    return np.flatnonzero(~np.isfinite(numbers.to_numpy(zero_copy_only=False)))


def _true(mask: pa.Array) -> Rows:
    return np.flatnonzero(mask.to_numpy(zero_copy_only=False))


def _parents(lists: pa.Array, places: Rows) -> Rows:
    """The rows whose lists hold the flattened ``places``."""
    return np.asarray(pc.list_parent_indices(lists))[places] if len(places) else places


def _only_errors(table: pa.Table) -> pa.Table:
    """A row with an error has no answer, whatever the model gave beside it."""
    failed = table.column("error").is_valid()
    rows = pc.if_else(failed, pa.scalar(None, pa.int64()), pa.array(np.arange(table.num_rows)))
    clean = table.drop_columns(["error"]).take(rows)
    return clean.append_column(RESULT.field("error"), table.column("error")).combine_chunks()


def _sorted(table: pa.Table, top_k: int) -> pa.Table:
    """Each answer's scores in descending order, at most ``top_k``."""
    scores = _chunk(table, "scores")
    if scores.null_count == len(scores):
        return table
    lengths = np.asarray(pc.fill_null(pc.list_value_length(scores), 0))
    numbers = scores.flatten().flatten()[1].to_numpy(zero_copy_only=False)
    rising = numbers[1:] > numbers[:-1]
    first = np.cumsum(lengths)[:-1]
    rising[first[(first > 0) & (first < len(numbers))] - 1] = False  # from one list to the next
    if rising.any():
        rows = [None if row is None else sorted(row, key=lambda pair: -pair["p"]) for row in scores.to_pylist()]
        scores = pa.array(rows, SCORES)
    elif lengths.max() <= top_k:
        return table
    cut = pc.list_slice(scores, 0, top_k).cast(SCORES)
    return table.set_column(RESULT.get_field_index("scores"), RESULT.field("scores"), cut)


def _predictions(card: ModelCard, rows: Any, record_ids: Any, answers: pa.Table, latencies: Any) -> pa.Table:
    count = answers.num_rows
    cost = pc.if_else(answers.column("error").is_null(), card.cost, 0.0)
    kind = card.output.score_kind if card.output.classes is not None else None
    columns = {
        "row": rows,
        "record_id": record_ids,
        "model": _name(card.name, count),
        "model_version": _name(card.version, count),
        "score_kind": _name(kind, count),
        **{name: answers.column(name) for name in RESULT.names},
        "latency_ms": pa.array(latencies),
        "cost": cost,
        "reason": _name(None, count),
        "attempt": pa.array(np.ones(count, dtype=np.int32)),
    }
    return pa.Table.from_arrays([columns[name] for name in PREDICTION.names], schema=PREDICTION)


@functools.lru_cache(maxsize=64)
def _name(value: str | None, count: int) -> pa.Array:
    """A column of one repeated name; arrays are immutable, so that equal ones may be shared."""
    if value is None:
        return pa.nulls(count, NAME)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([value], pa.string()))
