"""The moment enters a run once: health, measured profiles and the artifacts' digests, as a snapshot of the plan.

After that every Airflow task, retry and executor decides from the same figures.
"""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import AgenticError, ArtifactError, Problem, SpecError
from airflow_agentic.execution import aliases
from airflow_agentic.registry.info import ModelInfo, card_digest
from airflow_agentic.runtime.artifacts import is_kept, is_local, resolve
from airflow_agentic.spec.base import build
from airflow_agentic.spec.load import shown
from airflow_agentic.spec.model import ModelCard, Profile
from airflow_agentic.spec.source import Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_agentic.plan.ir import Infer, Plan

PROFILES: Final = "profiles.json"
"""Measured profiles, in the folder of the cards, as ``airflow-agentic models profile`` writes them."""

GATEWAY: Final = "gateway"
"""What runs the models of a plan that is answered elsewhere."""

ALL_CLASSES: Final = 100_000

_MODULES: Final = {
    "torch": ("torch", "torch"),
    "tensorflow": ("tensorflow", "tensorflow"),
    "onnx": ("onnxruntime", "onnx"),
    "litert": ("ai_edge_litert", "litert"),
    "transformers": ("transformers", "transformers"),
    "open-inference": ("aiohttp", "service"),
}
"""What a framework imports, and the extra that brings it."""


def card_of(plan: Plan, model: str) -> ModelCard:
    """The card of one of the plan's models."""
    return build(ModelCard, plan.cards[model], Source(f"models/{model}.yaml"), Path(plan.folders.get(model, ".")))


def node_card(plan: Plan, node: Infer) -> ModelCard:
    """The card as ``node`` uses it: one whose scores are averaged keeps those of all classes.

    It names the versions and pins the files that the snapshot saw: one that is replaced in the middle of a run is
    refused when it is loaded, so that no run mixes two models.
    """
    info = plan.models[node.model]
    card = aliases.replaced(card_of(plan, node.model), info.versions)
    if node.all_scores:
        card = giving(card, ALL_CLASSES)
    return pinned(card, info.artifact, info.files)


def giving(card: ModelCard, top_k: int) -> ModelCard:
    """``card``, which gives the scores of so many classes."""
    return card.model_copy(update={"output": card.output.model_copy(update={"top_k": top_k})})


def pinned(card: ModelCard, artifact: str | None, files: Mapping[str, str]) -> ModelCard:
    """``card``, which loads these files and no others."""
    pins = {"sha256": artifact, "files": {**card.runtime.files, **files}}
    return card.model_copy(update={"runtime": card.runtime.model_copy(update=pins)})


def exact(card: ModelCard) -> ModelCard:
    """``card`` as a run freezes that of a model in pods: with the versions and files that its URIs mean now.

    :raises ArtifactError: a file cannot be had.
    """
    card = aliases.replaced(card, aliases.of(card, aliases.versions([card])))
    return pinned(card, *file_digests(card, elsewhere=True))


def file_digests(card: ModelCard, *, elsewhere: bool = False) -> tuple[str | None, dict[str, str]]:
    """The digests of the card's artifact and, by URI, of its other files, as far as they are known.

    The pinned one, which is believed here and enforced when the model is loaded; else that of a local file's bytes.

    :param elsewhere: the model is loaded where no registry is asked: what one keeps is fetched for its digest.
    :raises ArtifactError: a file cannot be had.
    """
    found = {uri: sha256 for uri in card.files.values() if (sha256 := _file_digest(card, uri, elsewhere)) is not None}
    return found.pop(str(card.runtime.artifact), None), found


def _file_digest(card: ModelCard, uri: str, elsewhere: bool) -> str | None:
    stated = card.pinned(uri)
    if stated is not None:
        return stated
    had = is_local(uri) or (elsewhere and is_kept(uri))
    return tree_digest(resolve(uri, base=card.folder)) if had else None


def snapshot(plan: Plan, *, elsewhere: bool = False) -> Plan:
    """The plan with the models' health, measured profiles and full digests as they are here and now.

    :param elsewhere: another process answers the whole plan, so that nothing here need be able to.
    :raises StoreError: a registry fails. What the run would be is not known, so it does not begin; retrying can help.
    """
    cards = {name: card_of(plan, name) for name in plan.models}
    meant = aliases.versions(cards.values())
    runners = dict.fromkeys(plan.models, GATEWAY) if elsewhere else plan.options.runners
    models = {name: _observed(info, cards[name], meant, runners.get(name)) for name, info in plan.models.items()}
    return plan.model_copy(update={"models": models})


def _observed(
    info: ModelInfo, card: ModelCard, meant: Mapping[str, str | AgenticError], runner: str | None
) -> ModelInfo:
    """:param runner: what runs the model, if not the worker."""
    update: dict[str, Any] = {}
    imports = {None: card.runtime.framework, "service": "open-inference"}.get(runner, "")
    module, extra = _MODULES.get(imports, (None, None))
    if module is not None and util.find_spec(module) is None:
        update = {
            "healthy": False,
            "why_unhealthy": f"{module} is not installed: pip install 'airflow-agentic[{extra}]'",
        }
    try:
        versions = aliases.of(card, meant)
        card = aliases.replaced(card, versions)
        served = runner in {"service", GATEWAY}
        found = _files_of_service(card) if served else file_digests(card)
        digest = card_digest(card, *found)  # where a model runs is no part of what it is
        artifact, files = found if served else file_digests(pinned(card, *found), elsewhere=bool(runner))
    except (AgenticError, OSError) as error:
        if isinstance(error, AgenticError) and error.retryable:
            raise
        return info.model_copy(update={"healthy": False, "why_unhealthy": str(error)})
    measured = measured_profile(card, digest)
    if measured is not None:
        update |= {"cost": measured.cost_per_1k / 1000.0 if measured.cost_per_1k else info.cost}
        update |= {name: value for name in ("latency_ms", "quality") if (value := getattr(measured, name)) is not None}
    frozen = {"digest": digest, "artifact": artifact, "files": files, "versions": versions}
    return info.model_copy(update={**update, **frozen})


def _files_of_service(card: ModelCard) -> tuple[str | None, dict[str, str]]:
    """The digests of a model's files where they are here, too; its server alone needs them."""
    try:
        return file_digests(card)
    except ArtifactError as error:
        if error.retryable:
            raise
        return card.runtime.sha256, dict(card.runtime.files)


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
