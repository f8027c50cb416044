"""What is committed decides about a unit, whatever was heard of what worked on it.

Shared by the operators whose model runs elsewhere: in a pod of the unit's own, or in one that is warm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from airflow_agentic.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_agentic.exceptions import AgenticError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_agentic.container.exits import LastWords
    from airflow_agentic.execution import Run, Unit, UnitSummary
    from airflow_agentic.plan.ir import Infer

Failure = Callable[[AgenticError, Exception | None], Exception]
"""What to raise for a unit that is not complete: of what is missing, and of how the work ended."""

log: Final = logging.getLogger(__name__)


def complete(context: Context, run: Run, node: Infer, unit: Unit) -> bool:
    """Whether every shard is committed already; then its counts are pushed.

    :raises AirflowSkipException: no record of the unit is for this model.
    """
    from airflow_agentic.execution import collect_unit

    shards = run.unit_shards(node, unit)
    if not shards:
        raise AirflowSkipException(f"no record of unit {unit.number} is for {node.model!r}")
    if any(run.marker(node.id, shard) is None for shard in shards):
        return False
    _push(context, collect_unit(run, node, unit))
    return True


def judged(context: Context, run: Run, node: Infer, unit: Unit, work: Callable[[], object], failure: Failure) -> None:
    """Work; then succeed exactly if the unit is complete, and push its counts."""
    from airflow_agentic.execution import collect_unit

    ended: Exception | None = None
    try:
        work()
    except AirflowSkipException:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it was: what is committed decides
        ended = error
    try:
        summary = collect_unit(run, node, unit)
    except AgenticError as error:
        raise failure(error, ended) from (ended or error)
    if ended is not None:
        log.warning("it ended badly, yet all of unit %d is committed: %s", unit.number, ended)
    _push(context, summary)


def verdict(missing: AgenticError, pod: str, why: str, words: LastWords | None, hint: str | None) -> Exception:
    """The failure of a unit: final where its container said that the same try fails again.

    :param words: the container's last ones.
    """
    message = "\n".join(line for line in (str(missing), f"pod {pod}: {why}", hint) if line)
    final = words is not None and not words.retryable
    return AirflowFailException(message) if final else AirflowException(message)


def _push(context: Context, summary: UnitSummary | None) -> None:
    """Counts, although ``do_xcom_push`` would mean a sidecar in a pod."""
    if summary is not None:
        context["ti"].xcom_push(key="return_value", value=summary.to_json())
