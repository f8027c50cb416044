"""What a gateway shows of itself: tasks, models, plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.plan.document import plan_document
from airflow_agentic.serving.gateway.problems import NOT_FOUND, ProblemError
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.registry.info import ModelInfo
    from airflow_agentic.serving.access import Client
    from airflow_agentic.serving.gateway.catalog import Catalog, Served
    from airflow_agentic.serving.gateway.readiness import Readiness


class Views:
    """Documents for those who may use a workflow; the others do not see that it is there."""

    def __init__(self, catalog: Catalog, readiness: Readiness) -> None:
        self.catalog = catalog
        self.readiness = readiness

    def tasks(self, client: Client) -> dict[str, Any]:
        """The tasks that can be asked for."""
        states = self.readiness.workflows
        found = []
        for task, names in self.catalog.tasks.items():
            workflows = [
                {
                    "name": name,
                    "description": self.catalog.served[name].workflow.spec.description,
                    "state": states[name],
                }
                for name in names
                if client.may(name)
            ]
            if workflows:
                found.append({"task": task, "workflows": workflows})
        return {"tasks": found}

    def models(self, client: Client) -> dict[str, Any]:
        """The models that answer, and how far each is."""
        used: dict[str, tuple[ModelInfo, list[str]]] = {}
        for one in self._seen(client):
            for name, info in one.coordinator.plan.models.items():
                used.setdefault(name, (info, []))[1].append(one.name)
        return {"models": [self._model(info, names) for _, (info, names) in sorted(used.items())]}

    def plan(self, name: str, client: Client) -> dict[str, Any]:
        """A workflow's plan: its graph, and drawings of it.

        :raises ProblemError: ``not-found``.
        """
        seen = {one.name: one for one in self._seen(client)}
        if name not in seen:
            near = nearest(name, seen)
            hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(seen)) or 'none'}"
            raise ProblemError(NOT_FOUND, f"no workflow is called {name[:80]!r}; {hint}")
        plan = seen[name].coordinator.plan
        return {**plan_document(plan), "workflow": name, "description": seen[name].workflow.spec.description}

    def _seen(self, client: Client) -> list[Served]:
        return [one for name, one in sorted(self.catalog.served.items()) if client.may(name)]

    def _model(self, info: ModelInfo, workflows: list[str]) -> dict[str, Any]:
        shown = info.model_dump(
            include={"name", "version", "task", "input", "label_space", "cost", "latency_ms", "quality", "capabilities"}
        )
        state = self.readiness.models[info.name]
        why = {} if state.why is None else {"why": state.why}
        return {**shown, "digest": info.digest, "state": state.state, **why, "workflows": workflows}
