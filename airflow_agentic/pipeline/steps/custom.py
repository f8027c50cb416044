"""The step ``handler``: a function of the user, held to the contract of every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, PrivateAttr, field_validator

from airflow_agentic import tables
from airflow_agentic.exceptions import Problem, SpecError
from airflow_agentic.handlers import load_handler
from airflow_agentic.pipeline.features import KINDS
from airflow_agentic.pipeline.steps.base import StepModel, register
from airflow_agentic.spec.model import HandlerPath  # pydantic reads it
from airflow_agentic.spec.workflow import ColumnType  # pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping


@register("handler")
class HandlerStep(StepModel):
    """Call a function that takes and returns a ``pyarrow.Table`` of records. What it raises fails the batch."""

    path: HandlerPath
    """``package.module:function``; it must be covered by ``allowed_handlers``."""
    adds: dict[str, ColumnType] = Field(default_factory=dict)
    """The feature columns it adds, and their types: ``string``, ``double``, ``int`` or ``bool``."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Its keyword arguments."""

    _allowed: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("adds")
    @classmethod
    def _no_record_columns(cls, adds: dict[str, ColumnType]) -> dict[str, ColumnType]:
        taken = sorted(adds.keys() & set(tables.RECORD.names))
        if taken:
            raise ValueError(f"{taken[0]!r} is a column of every record\ngive the feature column another name")
        return adds

    def model_post_init(self, context: Any, /) -> None:
        """Take ``allowed_handlers`` from what :func:`~airflow_agentic.pipeline.steps.base.parse_step` was given."""
        self._allowed = tuple((context or {}).get("allowed_handlers", ()))

    def columns(self) -> Mapping[str, pa.DataType]:
        """As declared by ``adds``."""
        return {name: KINDS[kind] for name, kind in self.adds.items()}

    def apply(self, records: pa.Table) -> pa.Table:
        """See :class:`~airflow_agentic.pipeline.steps.base.Step`.

        :raises HandlerNotAllowedError: no entry of ``allowed_handlers`` covers it.
        :raises ModelLoadError: it cannot be imported.
        :raises SpecError: it returned something else than the contract says.
        """
        result = load_handler(self.path, self._allowed)(records, **self.options)
        problem = self._broken(records, result)
        if problem is not None:
            message = f"the handler {self.path!r} {problem}"
            raise SpecError(Problem(message=message, path="preprocess", hint="it returns its rows in their order"))
        return result

    def _broken(self, before: pa.Table, after: Any) -> str | None:
        """Which rule of the contract the result breaks."""
        if not isinstance(after, pa.Table):
            return f"returned {type(after).__name__}, not a pyarrow.Table"
        if len(after) != len(before):
            return f"returned {len(after)} rows for {len(before)}"
        expected = {**dict(zip(before.schema.names, before.schema.types, strict=True)), **self.columns()}
        found = dict(zip(after.schema.names, after.schema.types, strict=True))
        for name in [*expected, *found]:
            if found.get(name) != expected.get(name):
                return (
                    f"returned the column {name!r} as {found.get(name, 'nothing')}, not {expected.get(name, 'nothing')}"
                )
        if not after.column("record_id").equals(before.column("record_id")):
            return "changed the record_ids or their order"
        bad = pc.is_valid(before.column("error"))
        if not after.column("error").filter(bad).equals(before.column("error").filter(bad)):
            return "changed the error of a record that had one"
        return None
