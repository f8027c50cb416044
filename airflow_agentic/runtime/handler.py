"""Handlers: framework ``python``.

``runtime.handler`` names one of two things.

*A function* of one record's input (``runtime.args`` are further keyword arguments).

*A class*, made with ``runtime.args``, with an optional ``load()`` and ``close()`` and one of

* ``predict_one(input)``: as a function;
* ``predict(batch: pa.Table)``: the records, feature columns included; returns ``tables.RESULT`` with the label space's
  own labels, or a list with one item a record, each as a function's return value or the exception that is this
  record's error;
* ``run(arrays)``: named NumPy arrays in and out, the batch axis first, as a framework's model; the card's ``runtime``
  and ``output`` say how records become arrays, and arrays answers.

The *input* of a record is a ``str`` (text), ``bytes``, a ``dict`` (struct), nested lists (tensor), or the URI as a
``str`` where the record gives one.

What may be *returned* follows the card's ``output``:

===========  ==============================================================================================
classes      the label; ``(label, score)``; or ``{label: score}``, of which the best ``top_k`` are kept
value        a number
embedding    a list (or array) of numbers
fields       a ``dict`` with the card's fields; further keys are kept
===========  ==============================================================================================

Anything else is an error row ``bad_output``; an exception is an error row ``model_error`` (a ``RecordError`` gives its
own code). ``ModelError`` and ``MemoryError`` end the whole call.
"""

from __future__ import annotations

import functools
import inspect
import json
import reprlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from airflow_agentic.exceptions import ModelError, ModelLoadError, RecordError
from airflow_agentic.runtime import inputs
from airflow_agentic.runtime.base import UNKNOWN
from airflow_agentic.runtime.decode import json_lists
from airflow_agentic.runtime.imports import import_allowed
from airflow_agentic.runtime.results import Ranking, as_record_error, fitting, results, with_errors
from airflow_agentic.tables import SCORES, error

if TYPE_CHECKING:
    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard

Item = Any
"""What a handler gives for one record, an exception included."""

RANKINGS: Final = 64
"""Sets of labels whose ranking is kept; a handler that gives others every time must not fill the memory."""

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": (list, tuple),
    "object": dict,
}


class HandlerSession:
    """A handler that takes arrays, as a :class:`~airflow_agentic.runtime.base.Session`."""

    signature = UNKNOWN

    def __init__(self, handler: Any, run: Callable[[Arrays], Arrays]) -> None:
        self._handler = handler
        self._run = run

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        try:
            return self._run(inputs)
        except SystemExit as error:  # as _staying, in a tenth of its time: this runs for every request
            raise _exited(error) from error

    def close(self) -> None:
        """Call the handler's ``close``."""
        getattr(self._handler, "close", lambda: None)()


class HandlerPredictor:
    """A handler as a :class:`~airflow_agentic.runtime.base.Predictor`."""

    def __init__(self, card: ModelCard, *, allowed_handlers: Sequence[str] = (), top_k: int | None = None) -> None:
        self._card = card
        self._allowed = tuple(allowed_handlers)
        self._answers = Answers(card, top_k=top_k)
        self._handler: Any = None
        self.session: Session | None = None
        """The handler, where it takes arrays and not records."""
        self._batched: Callable[[pa.Table], Any] | None = None
        self._one: Callable[[Any], Item] | None = None

    def load(self) -> None:
        """Import the handler, make it where it is a class, and call its ``load``."""
        with _staying():
            self._load()

    def _load(self) -> None:
        path, args = str(self._card.runtime.handler), self._card.runtime.args
        found = import_allowed(path, self._allowed, card=self._card, key="runtime.handler")
        if not inspect.isclass(found):
            if not callable(found):
                raise ModelLoadError(
                    f"model {self._card.name!r}: runtime.handler {path!r} is neither a class nor a function"
                )
            self._one = functools.partial(found, **args) if args else found
            return
        self._handler = found(**args)
        self._batched = getattr(self._handler, "predict", None)
        self._one = getattr(self._handler, "predict_one", None)
        run = getattr(self._handler, "run", None)
        if run is not None:
            self.session = HandlerSession(self._handler, run)
        elif self._batched is None and self._one is None:
            raise ModelLoadError(
                f"model {self._card.name!r}: the class {path!r} has neither predict(batch) nor predict_one(input) nor "
                "run(arrays); add one"
            )
        getattr(self._handler, "load", lambda: None)()

    def predict(self, batch: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.runtime.base.Predictor`."""
        values, errors = inputs.payloads(batch, self._card.input)
        if self._batched is not None:
            good = batch.filter(pa.array([row not in errors for row in range(len(values))])) if errors else batch
            answers = self._whole(good)
        else:
            given = values if not errors else [value for row, value in enumerate(values) if row not in errors]
            answers = self._answers.table([self._answer(value) for value in given])
        return with_errors(answers, errors, len(values))

    def close(self) -> None:
        """Call the handler's ``close`` where it has one."""
        getattr(self._handler, "close", lambda: None)()
        self._handler = self._batched = self._one = None

    def _whole(self, batch: pa.Table) -> pa.Table:
        if self._batched is None or batch.num_rows == 0:
            return results(0)
        with _staying():
            found = self._batched(batch)
        if isinstance(found, pa.Table):
            return self._answers.checked(fitting(found, batch.num_rows))
        if not isinstance(found, list) or len(found) != batch.num_rows:
            shown = f"{len(found)} items" if isinstance(found, list) else type(found).__name__
            raise RecordError(
                "bad_output", f"the handler gave {shown} for {batch.num_rows} records; a list needs one each"
            )
        return self._answers.table(found)

    def _answer(self, value: Any) -> Item:
        try:
            if self._card.input in {"tabular", "json", "tensor"}:
                value = inputs.from_json(value)
            with _staying():
                return self._one(value) if self._one is not None else None
        except (ModelError, MemoryError):
            raise
        except Exception as found:  # noqa: BLE001  # a handler is foreign code: whatever it raises is its record's error
            return found


@contextmanager
def _staying() -> Iterator[None]:
    """A handler that calls ``sys.exit`` ends its record, not the process: inline, that is the worker's."""
    try:
        yield
    except SystemExit as error:
        raise _exited(error) from error


def _exited(error: SystemExit) -> RuntimeError:
    return RuntimeError(f"it called sys.exit({error.code!r})")


class Answers:
    """Handlers' return values to results."""

    def __init__(self, card: ModelCard, *, top_k: int | None = None) -> None:
        self._card = card
        self._top_k = top_k
        self._map = card.output.label_map
        self._rankings: dict[tuple[str, ...], Ranking] = {}
        self._read = self._reader()

    def table(self, items: Sequence[Item]) -> pa.Table:
        """One result row per item, in order."""
        errors = {row: as_record_error(item) for row, item in enumerate(items) if isinstance(item, Exception)}
        given = [item for item in items if not isinstance(item, Exception)] if errors else items
        return with_errors(self._answered(given), errors, len(items))

    def checked(self, table: pa.Table) -> pa.Table:
        """A handler's own result table, with an error where its ``output`` is not what the card says, as JSON."""
        errors: dict[int, RecordError] = {}
        for row, text in enumerate(table.column("output").to_pylist()):
            if text is not None:
                try:
                    self._check_output(text)
                except (ValueError, TypeError, RecursionError) as problem:
                    shown = reprlib.repr(text)
                    errors[row] = RecordError("bad_output", f"the handler gave the output {shown}: {problem}")
        good = table.filter(pa.array([row not in errors for row in range(table.num_rows)])) if errors else table
        return with_errors(good, errors, table.num_rows)

    def _check_output(self, text: str) -> None:
        value = json.loads(text)
        if self._card.output.fields is not None or self._card.output.embedding is not None:
            self._read([value])

    def _answered(self, items: Sequence[Item]) -> pa.Table:
        try:
            return self._read(items) if items else results(0)
        except (TypeError, ValueError, AttributeError, OverflowError) as problem:
            if len(items) == 1:
                shown = reprlib.repr(items[0])
                return results(1, error=[error("bad_output", f"the handler gave {shown}: {problem}")])
        return pa.concat_tables([self._answered([item]) for item in items])

    def _reader(self) -> Callable[[Sequence[Item]], pa.Table]:
        output = self._card.output
        if output.classes is not None:
            return self._classes
        if output.value is not None:
            return self._values
        return self._vectors if output.embedding is not None else self._fields

    def _classes(self, items: Sequence[Item]) -> pa.Table:
        if isinstance(items[0], dict):
            return self._scored(items)
        pairs = [item if isinstance(item, tuple) else (item, None) for item in items]
        _each(pairs, lambda pair: len(pair) == 2 and isinstance(pair[0], str) and _is_score(pair[1]), _CLASSES)
        labels = [self._map.get(label, label) for label, _ in pairs]
        given = [None if p is None else float(p) for _, p in pairs]
        scores = [None if p is None else [{"label": label, "p": p}] for label, p in zip(labels, given, strict=True)]
        return results(len(items), label=labels, score=given, scores=pa.array(scores, SCORES))

    def _scored(self, items: Sequence[Item]) -> pa.Table:
        _each(items, lambda item: isinstance(item, dict) and len(item) > 0, _CLASSES)
        labels = tuple(items[0])
        if any(item.keys() != items[0].keys() for item in items):
            return pa.concat_tables([self._ranked(tuple(item), [item]) for item in items])
        return self._ranked(labels, items)

    def _ranked(self, labels: tuple[str, ...], items: Sequence[Item]) -> pa.Table:
        ranking = self._rankings.get(labels)
        if ranking is None:
            _each(labels, lambda label: isinstance(label, str), _CLASSES)
            ranking = Ranking(labels, self._card, top_k=self._top_k)
            if len(self._rankings) < RANKINGS:
                self._rankings[labels] = ranking
        return ranking.table(np.array([[item[label] for label in labels] for item in items], np.float64))

    def _values(self, items: Sequence[Item]) -> pa.Table:
        _each(items, _is_number, "a value card takes a number")
        return results(len(items), value=np.array(items, np.float64))

    def _vectors(self, items: Sequence[Item]) -> pa.Table:
        length = self._card.output.embedding
        _each(items, lambda item: not isinstance(item, str), "an embedding card takes a list of numbers")
        vectors = np.array(items, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != length:
            raise ValueError(f"an embedding card takes a list of {length} numbers")
        if not np.isfinite(vectors).all():
            raise ValueError("it has a number that is not finite")
        return results(len(items), output=json_lists(vectors))

    def _fields(self, items: Sequence[Item]) -> pa.Table:
        fields = self._card.output.fields or {}
        for item in items:
            if not isinstance(item, dict):
                raise TypeError("a fields card takes a dict")
            for name, kind in fields.items():
                if not _is(item.get(name), kind):
                    raise TypeError(f"field {name!r} must be of type {kind}")
        texts = [json.dumps(dict(item), ensure_ascii=False, allow_nan=False) for item in items]
        return results(len(items), output=texts)  # Arrow refuses half a surrogate pair, which JSON would escape


_CLASSES: Final = "a classes card takes a label, (label, score) or {label: score}"


def _each(items: Sequence[Any], holds: Callable[[Any], bool], otherwise: str) -> None:
    if not all(map(holds, items)):
        raise TypeError(otherwise)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)


def _is_score(value: Any) -> bool:
    return value is None or _is_number(value)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])
