"""One model among a user's own Airflow tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from airflow.sdk import BaseOperator

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.exceptions import InputError
from airflow_agentic.execution import snapshot
from airflow_agentic.hooks.store import settings_list
from airflow_agentic.operators.answering import Answering
from airflow_agentic.operators.node import failing_fast, folder
from airflow_agentic.operators.publish import publish_answers
from airflow_agentic.pipeline.inputs import Input, fingerprint, inline_records, read_records
from airflow_agentic.plan import Plan, compile_plan
from airflow_agentic.registry import Registry
from airflow_agentic.spec import workflow_from

if TYPE_CHECKING:
    from airflow.sdk import Context


class ModelOperator(BaseOperator):
    """Answer records with one model, or with a pattern of several; returns the answers' URI and counts.

    ::

        ModelOperator(task_id="classify", model="lite0-torch", models="models", records="{{ ti.xcom_pull('collect') }}")

    :param model: a card's name, or a pattern as in a workflow:
        ``{"cascade": ["a", "b"], "accept": "prediction.score > 0.8"}``.
    :param records: a list of texts, paths or records, or the path or URI of a file, folder or glob.
    :param models: the folder of the cards, relative to the Dag file's folder.
    :param task: of records that state none.
    """

    template_fields: Sequence[str] = ("records", "model", "task")
    ui_color = "#e6e4f7"

    def __init__(
        self,
        *,
        model: str | Mapping[str, Any],
        records: Any,
        models: str = "models",
        task: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.records = records
        self.models = models
        self.task = task
        self._answering = Answering()

    def execute(self, context: Context) -> dict[str, Any]:
        """Answer and publish below the run's artifacts, in a folder named after this Airflow task."""
        ti = context["ti"]
        place = ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}.{ti.map_index}"
        with failing_fast():
            plan = snapshot(self._plan(place))
            inputs = fingerprint(self._files()) if self._from_files() else [{"records": digest(self._listed_text())}]
            parent = folder(context)
            own = type(parent)(parent.store.child(place), parent.allowed_handlers)
            run = own.start(plan, self._chunks(), inputs)
            self._answering.answer(run, context, parent.allowed_handlers)
            return publish_answers(run, context, self.outlets)

    def on_kill(self) -> None:
        """End the models; answered shards stay."""
        self._answering.stop()

    def _plan(self, name: str) -> Plan:
        cards = Registry.load([self._base() / self.models])
        data = {"apiVersion": "airflow-agentic/v1", "name": name.lower(), "routes": [{"use": self.model}]}
        return compile_plan(workflow_from(data, self._base()), cards)

    def _base(self) -> Path:
        return Path(self.dag.fileloc).parent

    def _from_files(self) -> bool:
        return isinstance(self.records, str)

    def _files(self) -> Input:
        return Input(uri=self.records, base=self._base())

    def _listed_text(self) -> list[str]:
        if not isinstance(self.records, Sequence):
            raise InputError(f"records is {type(self.records).__name__}; give a list of records, or a path or URI")
        return [repr(one) for one in self.records]

    def _chunks(self) -> Iterator[pa.Table]:
        allowed = settings_list("allowed_uris")
        if not self._from_files():
            yield inline_records(list(self.records), task=self.task, base=self._base(), allowed_uris=allowed)
            return
        for chunk in read_records(self._files(), allowed_uris=allowed):
            if self.task is None:
                yield chunk
            else:
                column = chunk.column("task").fill_null(self.task)
                yield chunk.set_column(chunk.schema.get_field_index("task"), chunk.schema.field("task"), column)
