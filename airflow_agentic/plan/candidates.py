"""Which members a pattern has, and in which order they are asked.

Pure: from the workflow, the cards and a lock file; declared profiles only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from airflow_agentic.registry.info import ModelInfo
from airflow_agentic.routing.policy import scores
from airflow_agentic.spec.explain import nearest
from airflow_agentic.spec.pattern import Candidates, Pattern, Policy, PolicyName
from airflow_agentic.spec.source import KeyPath, render_path
from airflow_agentic.spec.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.exceptions import Problem
    from airflow_agentic.registry import Registry
    from airflow_agentic.spec.model import ModelCard


_PLACES: Final = {"local": "a worker process", "kubernetes": "a pod", "service": "a service"}


@dataclass
class Resolver:
    """Names and queries to cards; collects what is wrong.

    ``locked`` maps a query's place in the workflow to the names it may find.
    """

    workflow: WorkflowSpec
    registry: Registry
    locked: Mapping[str, list[str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    used: dict[str, ModelCard] = field(default_factory=dict)

    def refuse(self, path: KeyPath, message: str, hint: str | None = None) -> None:
        """Note a problem at ``path`` of the workflow."""
        self.problems.append(self.workflow.problem(path, message, hint))

    def card(self, name: str, path: KeyPath) -> ModelCard | None:
        """The card called ``name``; notes a problem where there is none."""
        if name in self.registry.cards:
            card = self.used[name] = self.registry.cards[name]
            runner = self.workflow.runner.of(name)
            if runner not in card.runners:
                message = f"{name!r} may not run in {_PLACES[runner]}: its card says runners: {', '.join(card.runners)}"
                self.refuse(
                    path, message, f"add {runner} to its runners, set the workflow's runner, or use another model"
                )
            return card
        if name in self.registry.broken:
            self.problems.extend(self.registry.broken[name].problems)
            return None
        near = nearest(name, self.registry.cards)
        hint = f"known models: {', '.join(self.registry.cards) or 'none'}"
        if name in {locked for names in self.locked.values() for locked in names}:
            hint = "the lock file pins it; add its card, or run `airflow-agentic lock` again"
        elif near is not None:
            hint = f"did you mean {near!r}{self._file(near)}?"
        elif self.registry.broken:
            hint += f"; cards that cannot be read: {', '.join(sorted(self.registry.broken))}"
        self.refuse(path, f"no model is called {name!r}", hint)
        return None

    def _file(self, name: str) -> str:
        source = self.registry.cards[name].source
        return f" ({source.file})" if source.in_file else ""

    def members(self, candidates: Candidates, path: KeyPath, policy: Policy | None) -> list[tuple[Pattern, KeyPath]]:
        """The members of a pattern with their places, in the order they are asked.

        Order: as declared, unless a policy ranks models (``quality``, ``cost``, ``latency``, ``balanced``); a query
        without a policy is ranked by cost.
        """
        if candidates.query is None:
            found = [(member, (*path, index)) for index, member in enumerate(candidates.members)]
        else:
            cards = {card.name: card for card in self.registry.query(candidates.query)}
            pinned = self.locked.get(render_path(path))
            names = list(cards) if pinned is None else pinned
            found = [(Pattern(model=name), path) for name in names]
            if pinned == []:
                self.refuse(path, "the lock file pins no model for this query", "run `airflow-agentic lock` again")
            elif not found:
                asked = candidates.query.model_dump(exclude_none=True, exclude_defaults=True)
                self.refuse(path, f"no model card answers the query {asked}", "relax it, or add a card")
            policy = policy or Policy(name="cost")
        if policy is None or policy.name not in {"quality", "cost", "latency", "balanced"}:
            return found
        infos = [self._info(member) for member, _ in found]
        if any(info is None for info in infos):
            unranked = next(place for (_, place), info in zip(found, infos, strict=True) if info is None)
            self.refuse(
                unranked,
                f"policy {policy.name} ranks models, not patterns",
                "use policy: declared, or name models only",
            )
            return found
        order = rank([info for info in infos if info is not None], policy.name, policy.weights)
        return [found[index] for index in order]

    def _info(self, member: Pattern) -> ModelInfo | None:
        if member.model is None:
            return None
        card = self.registry.cards.get(member.model)
        # an unknown name is reported where it is compiled; here it only must not stop the ranking
        return (
            ModelInfo.of(card) if card else ModelInfo(name=member.model, version="0", task="", input="json", digest="")
        )


def rank(infos: list[ModelInfo], policy: PolicyName, weights: Mapping[str, float]) -> list[int]:
    """Indices into ``infos``, best first; equal ones by name. What is not declared ranks last."""
    values = scores(infos, policy, weights)
    return sorted(range(len(infos)), key=lambda index: (-values[index], infos[index].name))
