"""Old runs → tombstones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator

from airflow_agentic.exceptions import InputError
from airflow_agentic.execution.retention import kept, prune
from airflow_agentic.hooks.store import ArtifactStoreHook, setting
from airflow_agentic.operators.node import failing_fast

if TYPE_CHECKING:
    from airflow.sdk import Context


MAX_NAMED: Final = 50
"""Workflows that the counts name: an XCom is small."""


class PruneOperator(BaseOperator):
    """Delete the artifacts of runs whose time is over; returns counts.

    A run is kept after its last write for as long as its workflow's ``retention`` says, else ``[agentic] retention``;
    where neither says anything it is kept for ever. Runs of this deployment only. May be retried at any point.

    :param older_than: instead, for every run: ``30d``.
    :param workflow: only runs of this workflow.
    :param simulate: only log and count what would be deleted.
    """

    template_fields: Sequence[str] = ("older_than", "workflow", "simulate")
    ui_color = "#f0f0f0"

    def __init__(
        self, *, older_than: str | None = None, workflow: str | None = None, simulate: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.older_than = older_than
        self.workflow = workflow
        self.simulate = simulate

    def execute(self, context: Context) -> dict[str, Any]:
        """Prune run by run."""
        del context
        runs: Counter[str] = Counter()
        objects = size = 0
        with failing_fast():
            if not isinstance(self.simulate, bool):
                raise InputError(
                    f"simulate is {self.simulate!r}: give true or false; "
                    "a template needs render_template_as_native_obj=True in its Dag"
                )
            for one in prune(
                ArtifactStoreHook().get_conn(),
                setting("deployment", "default"),
                older_than=kept("older_than", self.older_than),
                default=kept("[agentic] retention", setting("retention")),
                workflow=self.workflow,
                dry_run=self.simulate,
            ):
                verb = "would expire" if self.simulate else "expired"
                self.log.info("%s %s: %s (%d objects, %d bytes)", one.place, verb, one.why, one.objects, one.bytes)
                runs[one.workflow] += 1
                objects += one.objects
                size += one.bytes
        return {
            "simulated": self.simulate,
            "runs": runs.total(),
            "objects": objects,
            "bytes": size,
            "runs_by_workflow": dict(runs.most_common(MAX_NAMED)),
        }
