"""Whether the models that the workflows need can answer: loaded here, or ready at their servers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow_agentic.exceptions import AgenticError
from airflow_agentic.pipeline.combination import Chained, Coalesce, Combination, Ensemble, Leaf, Primary, parts
from airflow_agentic.plan.ir import Aggregate, Infer

if TYPE_CHECKING:
    from airflow_agentic.coordinator import Pool
    from airflow_agentic.plan.ir import Plan
    from airflow_agentic.serving.gateway.catalog import Catalog
    from airflow_agentic.spec.model import ModelCard

AGAIN_SECONDS: Final = 10.0
AT_ONCE: Final = 2
"""Models that are loaded side by side: each takes a processor."""

State = Literal["loading", "ready", "failed"]
log = logging.getLogger("airflow_agentic.gateway")


@dataclass(frozen=True)
class ModelState:
    """How far a model is."""

    state: State
    why: str | None = None


LOADING: Final = ModelState("loading")


class Readiness:
    """What can be answered now.

    A workflow is *ready* if all its models are; *degraded* if some failed and every route can still answer (another
    stage of its cascade, a quorum of its ensemble); *unable* otherwise.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.draining = False
        self._cards: dict[str, list[tuple[Pool, ModelCard]]] = {}
        for one in catalog.served.values():
            for card in one.coordinator.cards.values():
                self._cards.setdefault(card.name, []).append((one.coordinator.pool, card))
        self.models: dict[str, ModelState] = dict.fromkeys(sorted(self._cards), LOADING)

    async def watch(self) -> None:
        """:meth:`prepare` again and again, until cancelled."""
        while True:
            await self.prepare()
            await asyncio.sleep(AGAIN_SECONDS)

    async def prepare(self) -> None:
        """Load the models that are not loaded, and ask the servers of the others."""
        before = self.ready
        places = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._prepare(name, places) for name in self.models))
        if self.ready and not before:
            log.info("every workflow can answer: %s", ", ".join(f"{k} {v}" for k, v in self.workflows.items()))

    @property
    def workflows(self) -> dict[str, str]:
        """Each workflow: ``ready``, ``degraded``, ``loading`` or ``unable``."""
        return {name: self._workflow(one.coordinator.plan) for name, one in self.catalog.served.items()}

    @property
    def ready(self) -> bool:
        """Whether every workflow can answer, and the gateway goes on."""
        return not self.draining and all(state in {"ready", "degraded"} for state in self.workflows.values())

    def document(self) -> dict[str, Any]:
        """What ``GET /health/ready`` says."""
        status = "draining" if self.draining else "ready" if self.ready else "not ready"
        models = {
            name: {"state": one.state} | ({} if one.why is None else {"why": one.why})
            for name, one in self.models.items()
        }
        return {"status": status, "workflows": self.workflows, "models": models}

    async def _prepare(self, name: str, places: asyncio.Semaphore) -> None:
        async with places:
            try:
                for pool, card in self._cards[name]:
                    await pool.prepare(card)
            except (AgenticError, OSError) as error:
                if self.models[name].why != str(error):
                    log.warning("model %s cannot answer: %s", name, error)
                self.models[name] = ModelState("failed", str(error))
            else:
                self.models[name] = ModelState("ready")

    def _workflow(self, plan: Plan) -> str:
        states = {node.model: self.models[node.model].state for node in plan.of(Infer)}
        if all(state == "ready" for state in states.values()):
            return "ready"
        combine = plan.of(Aggregate)[0].combine
        if answerable(combine, lambda model: states[model] == "ready"):
            return "degraded" if "failed" in states.values() else "loading"
        return "loading" if answerable(combine, lambda model: states[model] != "failed") else "unable"


def answerable(combination: Combination, able: Callable[[str], bool]) -> bool:
    """Whether every record that reaches ``combination`` can be answered by the models that are ``able``."""
    if isinstance(combination, Leaf):
        return able(combination.model)
    if isinstance(combination, Primary):
        return answerable(combination.primary, able)
    inside = [answerable(part, able) for part in parts(combination)]
    if isinstance(combination, Ensemble):
        return sum(inside) >= combination.quorum
    return all(inside) if isinstance(combination, Coalesce | Chained) else any(inside)
