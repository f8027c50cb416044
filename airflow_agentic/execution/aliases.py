"""MLflow aliases in cards: what each means is found out once a run, so that no run mixes two versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_agentic.exceptions import AgenticError
from airflow_agentic.runtime import sources
from airflow_agentic.spec.kept import RegistryUri, parse
from airflow_agentic.spec.model import ModelCard


def versions(cards: Iterable[ModelCard]) -> dict[str, str | AgenticError]:
    """The URI of the version that each alias in ``cards`` means now, or why that cannot be known.

    A file whose SHA-256 its card states needs no other pin, and nobody is asked for it.

    :raises StoreError: a registry failed. What the run would be is not known, so it does not begin; retrying can help.
    """
    asked = sorted({uri for card in cards for uri in _aliases(card)})
    found = sources.find(asked)
    for answer in found.values():
        if isinstance(answer, AgenticError) and answer.retryable:
            raise answer
    return {uri: answer if isinstance(answer, AgenticError) else answer.uri for uri, answer in found.items()}


def of(card: ModelCard, found: Mapping[str, str | AgenticError]) -> dict[str, str]:
    """The part of ``found`` that is about ``card``.

    :raises AgenticError: one of its aliases means nothing.
    """
    mine: dict[str, str] = {}
    for uri in _aliases(card):
        answer = found[uri]
        if isinstance(answer, AgenticError):
            raise answer
        mine[uri] = answer
    return mine


def replaced(card: ModelCard, found: Mapping[str, str]) -> ModelCard:
    """``card`` with versions in place of its aliases."""
    if not found:
        return card
    runtime, output, text = card.runtime, card.output, card.runtime.text
    changed: dict[str, Any] = {"artifact": found.get(str(runtime.artifact), runtime.artifact)}
    if text is not None:
        changed["text"] = text.model_copy(update={"tokenizer": found.get(str(text.tokenizer), text.tokenizer)})
    labels = {"labels": found.get(str(output.labels), output.labels)}
    parts = {"runtime": runtime.model_copy(update=changed), "output": output.model_copy(update=labels)}
    return card.model_copy(update=parts)


def _aliases(card: ModelCard) -> list[str]:
    runtime, text = card.runtime, card.runtime.text
    artifact = runtime.artifact if runtime.sha256 is None else None
    return [uri for uri in (artifact, text and text.tokenizer, card.output.labels) if uri and _moves(uri)]


def _moves(uri: str) -> bool:
    known = parse(uri)
    return isinstance(known, RegistryUri) and known.alias is not None
