"""Which answers are good enough, and who is asked next."""

from __future__ import annotations

from airflow_agentic.operators.route import ControlOperator
from airflow_agentic.plan.ir import Gate


class GateOperator(ControlOperator):
    """Accept predictions, and send the other records on.

    Runs whatever became of the models before it (trigger rule ``all_done``): a lost unit's records count as unanswered.
    """

    kind = Gate
    ui_color = "#fbe9dc"
