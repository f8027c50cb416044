"""Input → shards: the first Airflow task of a run, which freezes its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.operators.node import failing_fast
from airflow_agentic.operators.start import StartOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class PreprocessOperator(StartOperator):
    """Freeze the plan, read and validate the input, and cut it into units.

    Returns the units (``{"unit", "first", "last", "rows", "manifest"}``), over which the inference tasks are mapped.
    """

    ui_color = "#eef7ea"

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Start the run."""
        with failing_fast():
            return [unit.to_json() for unit in self.start(context).units()]
