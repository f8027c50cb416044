"""Building ``tables.RESULT``: from flat arrays, so that a row costs no Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from airflow_agentic.exceptions import RecordError
from airflow_agentic.tables import RESULT, RESULT_FIELDS, SCORES, error

if TYPE_CHECKING:
    from airflow_agentic.spec.model import ModelCard

Errors = Mapping[int, RecordError]
"""Why a row of a batch is not answered, by row."""


def results(rows: int, **columns: Any) -> pa.Table:
    """A result table; columns that are not given are null."""
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in RESULT_FIELDS
    ]
    return pa.Table.from_arrays(arrays, schema=RESULT)


def fitting(found: Any, rows: int) -> pa.Table:
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


def with_errors(answers: pa.Table, errors: Errors, rows: int) -> pa.Table:
    """The answers of the rows without an error, put back among ``rows`` rows.

    :param answers: one row per row that has no entry in ``errors``, in order.
    """
    if not errors:
        return answers
    places = iter(range(answers.num_rows))
    spread = answers.take(pa.array([None if row in errors else next(places) for row in range(rows)], pa.int64()))
    found = spread.column("error").to_pylist()
    for row, problem in errors.items():
        found[row] = error(problem.code, str(problem))
    column = pa.array(found, RESULT.field("error").type)
    return spread.set_column(RESULT.get_field_index("error"), RESULT.field("error"), column)


def as_record_error(problem: Exception) -> RecordError:
    """A model's own exception as the error of its record; of one whose text cannot be had the class is said."""
    if isinstance(problem, RecordError):
        return problem
    try:
        said = str(problem)
    except Exception:  # noqa: BLE001  # a model is foreign code, and so is its exceptions' __str__
        said = "(it cannot be shown)"
    return RecordError("model_error", f"{type(problem).__name__}: {said}")


class Ranking:
    """Turns class scores into ``label``, ``score`` and the sorted ``scores`` of the best ``keep`` classes.

    Labels are mapped by the card's ``label_map``. Outputs that share a label become one: their scores are added where
    the card's ``score_kind`` is a probability, else the highest counts.
    """

    def __init__(self, labels: Sequence[str], card: ModelCard, *, top_k: int | None = None) -> None:
        mapped = [card.output.label_map.get(label, label) for label in labels]
        self.outputs = len(mapped)
        distinct = list(dict.fromkeys(mapped))
        self._labels = pa.array(distinct, pa.string())
        self._keep = min(top_k or card.output.top_k, len(distinct))
        self._merge = np.add if "probability" in card.output.score_kind else np.maximum
        self._order: npt.NDArray[np.intp] | None = None
        if len(distinct) < len(mapped):
            places = {label: place for place, label in enumerate(distinct)}
            groups = np.array([places[label] for label in mapped])
            self._order = np.argsort(groups, kind="stable")
            self._starts = np.searchsorted(groups[self._order], np.arange(len(distinct)))

    def table(self, scores: npt.NDArray[np.float64]) -> pa.Table:
        """The results of ``scores``, ``[rows, outputs]``; a row with a value that is not finite is an error row."""
        finite = np.isfinite(scores.sum(axis=1))
        if self._order is not None:
            scores = self._merge.reduceat(scores[:, self._order], self._starts, axis=1)
        order = best(scores, self._keep)
        ranked = np.take_along_axis(scores, order, axis=1)
        names = self._labels.take(pa.array(order.ravel()))
        pairs = pa.StructArray.from_arrays([names, pa.array(ranked.ravel())], fields=list(SCORES.value_type))
        offsets = pa.array(np.arange(len(scores) + 1, dtype=np.int32) * self._keep)
        table = results(
            len(scores),
            label=self._labels.take(pa.array(order[:, 0])),
            score=ranked[:, 0],
            scores=pa.ListArray.from_arrays(offsets, pairs, type=SCORES),
        )
        return without_bad(table, finite)


def best(scores: npt.NDArray[np.float64], keep: int) -> npt.NDArray[np.intp]:
    """The columns of the ``keep`` highest scores of each row, highest first; of equal ones the first column."""
    top: npt.NDArray[np.intp] = scores.argmax(axis=1)
    if keep == 1:
        return top[:, None]
    if keep == scores.shape[1]:
        ranked: npt.NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")
        return ranked
    chosen = np.sort(np.argpartition(-scores, keep - 1, axis=1)[:, :keep], axis=1)
    ranks = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    order: npt.NDArray[np.intp] = np.take_along_axis(chosen, ranks, axis=1)
    missed = order[:, 0] != top  # more than ``keep`` columns are equal to the highest
    order[missed, 1:] = order[missed, :-1]
    order[missed, 0] = top[missed]
    return order


def without_bad(table: pa.Table, good: npt.NDArray[np.bool_]) -> pa.Table:
    """``table`` with an error row where the model's numbers are not finite."""
    if good.all():
        return table
    problem = RecordError("bad_output", "the model gave a number that is not finite (NaN or infinity)")
    errors = {int(row): problem for row in np.flatnonzero(~good)}
    return with_errors(table.filter(pa.array(good)), errors, len(good))
