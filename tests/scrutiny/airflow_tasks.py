"""The Airflow tasks of one Dag run, executed here: real operators of the real Dag, without a scheduler."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-home-"))  # read when Airflow is first imported

from airflow_agentic.compat import AirflowSkipException
from airflow_agentic.operators.route import ControlOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG


@dataclass
class Tasks:
    """A Dag run.

    :param parse: gives the Dag; asked by every Airflow task, as every task process reads the Dag's file anew.
    :param settings: of Airflow, as environment variables.
    :param params: of the trigger form.
    """

    parse: Callable[[], DAG]
    settings: Mapping[str, str]
    params: Mapping[str, Any]
    run_id: str = "run"
    values: dict[str, Any] = field(default_factory=dict)
    """What the Airflow tasks that succeeded returned, by ``TASK`` or ``TASK[PLACE]``; a skipped one ``None``."""
    failures: dict[str, Exception] = field(default_factory=dict)
    """What the others raised on their last try."""
    tries: int = 0

    def work(self, *, until: str = "") -> Tasks:
        """Run what has not succeeded, in order; called again, it is the retry of what failed.

        Every Airflow task runs whatever became of those before it, as ``all_done`` has it.

        :param until: the first Airflow task that does not run.
        """
        self.tries += 1
        for task_id in [task.task_id for task in self.parse().topological_sort()]:
            if task_id == until:
                break
            task: Any = self.parse().get_task(task_id)
            if not task.is_mapped:
                self._try(task_id, task)
                continue
            for place, unit in enumerate(self.values.get("preprocess", ())):
                self._try(f"{task_id}[{place}]", task.unmap({"unit": unit}))
        return self

    @property
    def failed(self) -> dict[str, str]:
        """The messages of :attr:`failures`."""
        return {name: str(error) for name, error in self.failures.items()}

    @property
    def published(self) -> dict[str, Any]:
        """What the Airflow task that publishes returned.

        :raises AssertionError: it failed.
        """
        summary = self.values.get("publish", self.values.get("workflow"))
        assert summary is not None, self.failed
        return dict(summary)

    def _try(self, name: str, task: Any) -> None:
        if name in self.values:
            return
        self.failures.pop(name, None)
        try:
            self.values[name] = self._execute(task)
        except AirflowSkipException:
            self.values[name] = None
        except Exception as error:  # noqa: BLE001  # as Airflow does
            self.failures[name] = error

    def _execute(self, task: Any) -> Any:
        context: Any = {
            "dag_run": SimpleNamespace(dag_id=task.dag_id, run_id=self.run_id),
            "ti": SimpleNamespace(
                try_number=self.tries,
                max_tries=task.retries,
                xcom_pull=lambda task_ids: self.values.get(task_ids),
                xcom_push=lambda key, value: None,
            ),
            "params": {**task.dag.params.dump(), **self.params},
            "outlet_events": {outlet: SimpleNamespace(extra={}) for outlet in task.outlets},
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.settings.items():
                patch.setenv(name, value)
            if isinstance(task, ControlOperator):
                return task.choose_branch(context)
            return type(task).execute.__wrapped__(task, context)  # without Airflow's guard against such calls
