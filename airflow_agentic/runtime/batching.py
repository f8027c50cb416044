"""Records to predictions: batches, isolation of bad records, and checks of what a model gives.

Needs nothing of a plan: the same for a loaded model, a child process and a service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelError, RecordError
from airflow_agentic.runtime.base import Predictor
from airflow_agentic.runtime.results import results, with_errors
from airflow_agentic.spec.model import ModelCard
from airflow_agentic.tables import NAME, PREDICTION, RESULT, SCORES, error

ROW: Final = "row"


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
    rows = records.column(ROW) if ROW in records.column_names else pa.array(np.arange(records.num_rows, dtype=np.int32))
    inputs = records.drop_columns([ROW]) if ROW in records.column_names else records
    tables, latencies = [RESULT.empty_table()], np.empty(records.num_rows)
    for start, stop in _cuts(inputs, card):
        began = clock()
        tables.append(_answer(predictor, inputs.slice(start, stop - start)))
        latencies[start:stop] = (clock() - began) * 1000.0 / (stop - start)
        if on_batch is not None:
            on_batch(stop - start)
    answers = checked(pa.concat_tables(tables), card, top_k=top_k)
    return _predictions(card, rows, records.column("record_id"), answers, latencies)


def _cuts(records: pa.Table, card: ModelCard) -> Iterator[tuple[int, int]]:
    """Where the batches start and stop; a record larger than ``batch.bytes`` goes alone."""
    count = records.num_rows
    sizes = _sizes(records)
    ends = np.cumsum(sizes)
    start = 0
    while start < count:
        before = ends[start] - sizes[start]
        stop = min(int(np.searchsorted(ends, before + card.batch.bytes, side="right")), start + card.batch.rows)
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _sizes(records: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    _, text, data, _ = records.column("input").combine_chunks().flatten()
    total = pc.add(pc.fill_null(pc.binary_length(text), 0), pc.fill_null(pc.binary_length(data), 0))
    return np.asarray(total, dtype=np.int64)


def _answer(predictor: Predictor, batch: pa.Table) -> pa.Table:
    try:
        return _fitting(predictor.predict(batch), batch.num_rows)
    except (ModelError, HandlerNotAllowedError, MemoryError):
        raise
    except Exception as problem:  # noqa: BLE001  # a model is foreign code: whatever it raises is its record's error
        if batch.num_rows == 1:
            return results(1, error=[_described(problem)])
    return pa.concat_tables([_answer(predictor, batch.slice(row, 1)) for row in range(batch.num_rows)])


def _described(problem: Exception) -> dict[str, Any]:
    if isinstance(problem, RecordError):
        return error(problem.code, str(problem))
    return error("model_error", f"{type(problem).__name__}: {problem}")


def _fitting(found: Any, rows: int) -> pa.Table:
    """``found`` as ``tables.RESULT``, its columns cast.

    :raises RecordError: ``bad_output``, it is no table of ``rows`` rows with columns of these types.
    """
    if not isinstance(found, pa.Table):
        raise RecordError("bad_output", f"the model gave {type(found).__name__}, not an Arrow table")
    if found.num_rows != rows:
        raise RecordError("bad_output", f"the model gave {found.num_rows} rows for {rows} records")
    if found.schema.equals(RESULT):
        return found
    unknown = [name for name in found.column_names if name not in RESULT.names]
    if unknown or len(set(found.column_names)) < found.num_columns:
        raise RecordError(
            "bad_output",
            f"the model gave the columns {', '.join(found.column_names)}; known are {', '.join(RESULT.names)}",
        )
    try:
        columns = [
            found.column(field.name).cast(field.type)
            if field.name in found.column_names
            else pa.nulls(rows, field.type)
            for field in RESULT
        ]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as problem:
        raise RecordError("bad_output", f"the model gave a column of another type: {problem}") from problem
    return pa.Table.from_arrays(columns, schema=RESULT)


def checked(answers: pa.Table, card: ModelCard, *, top_k: int | None = None) -> pa.Table:
    """``answers`` with an error row for each that breaks the contract of ``tables.RESULT`` or of the card's output."""
    table = answers.combine_chunks()
    failed = np.asarray(table.column("error").is_valid())
    errors: dict[int, RecordError] = {}
    for code, message, rows in _violations(table, card):
        for row in rows:
            if not failed[row]:
                errors.setdefault(int(row), RecordError(code, message))
    if errors:
        kept = np.array([row not in errors for row in range(table.num_rows)])
        table = with_errors(table.filter(pa.array(kept)), errors, table.num_rows).combine_chunks()
    if failed.any():
        table = _only_errors(table)
    return _sorted(table, top_k or card.output.top_k)


def _violations(table: pa.Table, card: ModelCard) -> Iterator[tuple[str, str, Any]]:
    """Code, message and rows of each thing that is wrong."""
    output = card.output
    for name in ("score", "value"):
        rows = _rows(pc.invert(pc.is_finite(table.column(name))))
        yield "bad_output", f"the model gave a {name} that is not finite (NaN or infinity)", rows
    scores = _chunk(table, "scores")
    pairs, parents = scores.flatten(), np.asarray(pc.list_parent_indices(scores))
    labels, numbers = pairs.flatten()
    yield "bad_output", "the model gave scores that are not finite", parents[_rows(pc.invert(pc.is_finite(numbers)))]
    needed, column = _needed(card)
    missing = _rows(table.column(column).is_null())
    yield "bad_output", f"the model gave no {needed}", missing
    if isinstance(output.classes, list):
        space = pa.array(sorted({output.label_map.get(label, label) for label in output.classes}), pa.string())
        message = f"the model gave a label that is not in the card's label space ({output.label_space})"
        outside = _rows(pc.invert(pc.is_in(table.column("label"), space)))
        yield "unknown_label", message, np.setdiff1d(outside, missing)
        yield "unknown_label", message, parents[_rows(pc.invert(pc.is_in(labels, space)))]


def _needed(card: ModelCard) -> tuple[str, str]:
    """What an answer must have, and in which column."""
    if card.output.classes is not None:
        return "label", "label"
    if card.output.value is not None:
        return "value", "value"
    return ("embedding" if card.output.embedding is not None else "fields"), "output"


def _chunk(table: pa.Table, name: str) -> Any:
    column = table.column(name)
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _rows(mask: Any) -> Any:
    return np.flatnonzero(np.asarray(pc.fill_null(mask, False)))


def _only_errors(table: pa.Table) -> pa.Table:
    """A row with an error has no answer, whatever the model gave beside it."""
    failed = table.column("error").is_valid()
    clean = table.drop_columns(["error"]).take(
        pc.if_else(failed, pa.scalar(None, pa.int64()), pa.array(np.arange(table.num_rows)))
    )
    return clean.append_column(RESULT.field("error"), table.column("error")).combine_chunks()


def _sorted(table: pa.Table, top_k: int) -> pa.Table:
    """Each answer's scores in descending order, at most ``top_k``."""
    scores = _chunk(table, "scores")
    numbers = scores.flatten().field("p").to_numpy(zero_copy_only=False)
    parents = np.asarray(pc.list_parent_indices(scores))
    rising = (numbers[1:] > numbers[:-1]) & (parents[1:] == parents[:-1])
    if rising.any():
        rows = [None if row is None else sorted(row, key=lambda pair: -pair["p"]) for row in scores.to_pylist()]
        scores = pa.array(rows, SCORES)
    elif (pc.max(pc.list_value_length(scores)).as_py() or 0) <= top_k:
        return table
    cut = pc.list_slice(scores, 0, top_k)
    return table.set_column(RESULT.get_field_index("scores"), RESULT.field("scores"), cut.cast(SCORES))


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


def _name(value: str | None, count: int) -> Any:
    if value is None:
        return pa.nulls(count, NAME)
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([value], pa.string()))
