"""Conditions: CEL expressions over the columns of records and predictions.

A condition is compiled once against typed columns (dotted names, as ``record.task``), then evaluated for a whole
shard with Arrow, or for one record by CEL itself; both give the same. It is *true*, *false*, or *cannot be evaluated*,
which is an outcome of its row with a reason, and never false.

Nulls: a column's value may be null.

* ``has(x)``, ``x == null`` and ``x != null`` ask whether it is, where ``x`` is a column; they never fail;
* any other use of a null column fails, so ``record.language == "de"`` cannot be evaluated where there is no language;
* ``false && failed`` is false and ``true || failed`` is true, on either side; ``c ? a : b`` looks only at the branch it
  takes; everything else fails where a part of it fails. So ``has(record.language) && record.language == "de"`` is false
  where there is no language.

Numbers: integers have 64 bits, and overflow or division by zero fails; doubles follow IEEE 754 (``1.0 / 0.0`` is
infinite, NaN equals nothing); an int may be compared with a double, which compares both as doubles, as CEL does. Other
arithmetic never mixes them: write ``double(record.size) * 0.5``.

Nothing here may import Airflow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from airflow_agentic.exceptions import ConditionError
from airflow_agentic.routing.arrow_cel import ARROW, Batch, Part, Translator
from airflow_agentic.routing.cel_check import Columns, Program, check
from airflow_agentic.spec.workflow import ColumnType
from airflow_agentic.tables import NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["ColumnType", "Condition", "Outcome", "Verdict"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a condition says of each row. No row is both ``true`` and ``failed``."""

    true: pa.BooleanArray
    """Without nulls."""
    failed: pa.BooleanArray
    """Without nulls: the condition cannot be evaluated."""
    messages: pa.DictionaryArray
    """``tables.NAME``: the reason, for rows that failed; null for the others."""


class Verdict(NamedTuple):
    """What a condition says of one record."""

    value: bool | None
    """``None``: it cannot be evaluated."""
    reason: str | None = None
    """Why it cannot be evaluated."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A compiled condition; made by :meth:`compile`. Equal (and pickled) by its expression and columns."""

    expression: str
    columns: Columns
    """All declared columns, sorted by name."""
    references: frozenset[str] = field(compare=False)
    """The columns it reads."""
    _program: Program = field(compare=False, repr=False)
    _part: Part = field(compare=False, repr=False)

    @classmethod
    def compile(cls, expression: str, columns: Mapping[str, ColumnType]) -> Condition:
        """Compile ``expression``. The same arguments give the same object while it is remembered.

        :param columns: dotted names and their types; all may be null.
        :raises ConditionError: it does not compile, or is not true or false. The message is one line and begins
            with the place: ``column 18: found no matching overload for '_>=_' applied to '(double, string)'``.
        """
        return _compile(expression, tuple(sorted(columns.items())))

    def evaluate(self, columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int) -> Outcome:
        """Evaluate it for ``rows`` rows.

        :param columns: at least those in ``references``, each of ``rows`` values; a dictionary-encoded column is
            decoded, numbers are widened.
        :raises ConditionError: a column is missing, or not of its declared type, or not of ``rows`` values.
        """
        types = dict(self.columns)
        arrays = {name: _column(name, types[name], columns, rows) for name in sorted(self.references)}
        outcomes = [self._evaluate(batch) for batch in _batches(arrays, rows)]
        return outcomes[0] if len(outcomes) == 1 else _concat(outcomes)

    def evaluate_one(self, values: Mapping[str, object]) -> Verdict:
        """Evaluate it for one record, by CEL; a column that is absent or ``None`` is null."""
        if any(isinstance(text := values.get(name), str) and "\0" in text for name in self.references):
            return self._evaluate_row(values)  # CEL for Python cuts text at a NUL
        value, reason = self._program.run(values)
        return Verdict(value, reason)

    def evaluate_as_shard(self, values: Mapping[str, object]) -> Verdict:
        """:meth:`evaluate_one`, with the reason in the words of :meth:`evaluate` where it cannot be evaluated."""
        verdict = self.evaluate_one(values)
        return verdict if verdict.value is not None else self._evaluate_row(values)

    def _evaluate_row(self, values: Mapping[str, object]) -> Verdict:
        types = dict(self.columns)
        try:
            row = {name: pa.array([values.get(name)], ARROW[types[name]]) for name in self.references}
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            return Verdict(None, str(error))
        outcome = self.evaluate(row, 1)
        reason = outcome.messages[0].as_py()
        return Verdict(outcome.true[0].as_py() if reason is None else None, reason)

    def _evaluate(self, batch: Batch) -> Outcome:
        column = self._part.run(batch)
        data = column.data if isinstance(column.data, pa.Array) else pa.repeat(column.data, batch.rows)
        why = column.why if isinstance(column.why, pa.Array) else _repeated(column.why, batch.rows)
        reasons = pa.array(list(batch.reasons), pa.string())
        messages = pa.DictionaryArray.from_arrays(why, reasons)
        return Outcome(true=pc.fill_null(data, False), failed=pc.is_null(data), messages=messages)

    def __reduce__(self) -> tuple[Callable[[str, Columns], Condition], tuple[str, Columns]]:
        return _compile, (self.expression, self.columns)


@lru_cache(maxsize=1024)
def _compile(expression: str, columns: Columns) -> Condition:
    checked = check(expression, columns)
    return Condition(
        expression=expression,
        columns=columns,
        references=checked.references,
        _program=checked.program(),
        _part=Translator(checked).condition(),
    )


def _repeated(why: pa.Scalar | None, rows: int) -> pa.Array:
    return pa.nulls(rows, pa.int32()) if why is None else pa.repeat(why, rows)


def _column(
    name: str, type_: ColumnType, columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int
) -> pa.Array | pa.ChunkedArray:
    if name not in columns:
        raise ConditionError(f"the condition reads {name!r}, which the table does not have; it has {sorted(columns)}")
    column = columns[name]
    if len(column) != rows:
        raise ConditionError(f"column {name!r} has {len(column)} values for {rows} rows")
    given = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _fits(given, type_):
        raise ConditionError(f"column {name!r} is of Arrow type {column.type}, but is declared as {type_}")
    # an int64 that is declared double is rounded, as a record's own would be
    return column if column.type == ARROW[type_] else pc.cast(column, ARROW[type_], safe=type_ != "double")


def _fits(given: pa.DataType, type_: ColumnType) -> bool:
    kinds = {
        "string": (pa.types.is_string, pa.types.is_large_string),
        "double": (pa.types.is_floating, pa.types.is_integer),
        "int": (pa.types.is_integer,),
        "bool": (pa.types.is_boolean,),
    }
    return bool(pa.types.is_null(given) or any(kind(given) for kind in kinds[type_]))


def _batches(arrays: Mapping[str, pa.Array | pa.ChunkedArray], rows: int) -> Iterator[Batch]:
    """The rows in pieces within which every column is one array; nothing is copied."""
    if not any(isinstance(array, pa.ChunkedArray) for array in arrays.values()):
        yield Batch(arrays, rows)
    elif not rows:
        yield Batch({name: pa.array([], array.type) for name, array in arrays.items()}, 0)
    else:
        for piece in pa.table(dict(arrays)).to_batches():
            yield Batch(dict(zip(arrays, piece.columns, strict=True)), piece.num_rows)


def _concat(outcomes: list[Outcome]) -> Outcome:
    messages = pa.chunked_array([outcome.messages for outcome in outcomes], NAME).unify_dictionaries()
    return Outcome(
        true=pa.concat_arrays([outcome.true for outcome in outcomes]),
        failed=pa.concat_arrays([outcome.failed for outcome in outcomes]),
        messages=messages.combine_chunks(),
    )
