"""The moment enters a run once: health, measured profiles and the artifacts' digests, as a snapshot of the plan.

After that every Airflow task, retry and executor decides from the same figures.
"""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import AgenticError, Problem, SpecError
from airflow_agentic.execution import aliases
from airflow_agentic.registry.info import ModelInfo, card_digest
from airflow_agentic.runtime.artifacts import is_local, resolve
from airflow_agentic.spec.base import build
from airflow_agentic.spec.load import shown
from airflow_agentic.spec.model import ModelCard, Profile
from airflow_agentic.spec.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.plan.ir import Infer, Plan

PROFILES: Final = "profiles.json"
"""Measured profiles, in the folder of the cards, as ``airflow-agentic models profile`` writes them."""

ALL_CLASSES: Final = 100_000

_MODULES: Final = {
    "torch": "torch",
    "tensorflow": "tensorflow",
    "onnx": "onnxruntime",
    "litert": "ai_edge_litert",
    "transformers": "transformers",
}


def card_of(plan: Plan, model: str) -> ModelCard:
    """The card of one of the plan's models."""
    return build(ModelCard, plan.cards[model], Source(f"models/{model}.yaml"), Path(plan.folders.get(model, ".")))


def node_card(plan: Plan, node: Infer) -> ModelCard:
    """The card as ``node`` uses it: one whose scores are averaged keeps those of all classes.

    It pins the artifact that the snapshot saw: a file that is replaced in the middle of a run is refused when it is
    loaded, so that no run mixes two models. In place of an alias it names the version that the snapshot found.
    """
    card = aliases.replaced(card_of(plan, node.model), plan.models[node.model].versions)
    if node.all_scores:
        card = card.model_copy(update={"output": card.output.model_copy(update={"top_k": ALL_CLASSES})})
    artifact = plan.models[node.model].artifact
    if artifact is not None:
        card = card.model_copy(update={"runtime": card.runtime.model_copy(update={"sha256": artifact})})
    return card


def snapshot(plan: Plan) -> Plan:
    """The plan with the models' health, measured profiles and full digests as they are here and now.

    :raises StoreError: a registry does not say what an alias means; retrying can help.
    """
    cards = {name: card_of(plan, name) for name in plan.models}
    found = aliases.versions(cards.values())
    models = {name: _observed(info, cards[name], found) for name, info in plan.models.items()}
    return plan.model_copy(update={"models": models})


def _observed(info: ModelInfo, card: ModelCard, found: Mapping[str, str | AgenticError]) -> ModelInfo:
    update: dict[str, Any] = {}
    module = _MODULES.get(card.runtime.framework)
    if module is not None and util.find_spec(module) is None:
        extra = card.runtime.framework
        update = {
            "healthy": False,
            "why_unhealthy": f"{module} is not installed: pip install 'airflow-agentic[{extra}]'",
        }
    try:
        versions = aliases.of(card, found)
        card = aliases.replaced(card, versions)
        artifact = _artifact_digest(card)
        digest = card_digest(card, artifact)
    except (AgenticError, OSError) as error:
        return info.model_copy(update={"healthy": False, "why_unhealthy": str(error)})
    measured = measured_profile(card, digest)
    if measured is not None:
        update |= {"cost": measured.cost_per_1k / 1000.0 if measured.cost_per_1k else info.cost}
        update |= {name: value for name in ("latency_ms", "quality") if (value := getattr(measured, name)) is not None}
    return info.model_copy(update={**update, "digest": digest, "artifact": artifact, "versions": versions})


def _artifact_digest(card: ModelCard) -> str | None:
    """The digest of the bytes; a pinned one is believed here and enforced when the model is loaded."""
    runtime = card.runtime
    if runtime.artifact is None or runtime.sha256 is not None:
        return runtime.sha256
    return tree_digest(resolve(runtime.artifact, base=card.folder)) if is_local(runtime.artifact) else None


def measured_profile(card: ModelCard, digest: str) -> Profile | None:
    """What was measured of exactly this model, if anything was.

    :raises SpecError: the file of measured profiles is damaged.
    """
    path = card.folder / PROFILES
    try:
        entry = json.loads(path.read_text(encoding="utf-8")).get(card.name)
        return Profile.model_validate(entry["profile"]) if entry is not None and entry["digest"] == digest else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        way_out = "measure again with `airflow-agentic models profile NAME --write`, or delete the file"
        raise SpecError(
            Problem(message=f"holds no measured profiles: {error}", hint=way_out, file=shown(path))
        ) from error


def frozen_document(plan: Plan, params: Mapping[str, Any]) -> dict[str, Any]:
    """What ``plan.json`` holds."""
    return {"plan": plan.model_dump(mode="json"), "params": dict(params)}
