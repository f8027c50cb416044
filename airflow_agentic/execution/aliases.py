"""MLflow aliases in cards: what each means is found out once a run, so that no run mixes two versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_agentic.exceptions import AgenticError
from airflow_agentic.runtime import sources
from airflow_agentic.spec.kept import RegistryUri, parse
from airflow_agentic.spec.model import ModelCard


def versions(cards: Iterable[ModelCard]) -> dict[str, str | AgenticError]:
    """The URI of the version that each alias in ``cards`` means now, or why that is not known.

    A file whose SHA-256 its card states needs no other pin, and nobody is asked for it.
    """
    found = sources.find(sorted({uri for card in cards for uri in _aliases(card)}))
    return {uri: answer if isinstance(answer, AgenticError) else answer.uri for uri, answer in found.items()}


def of(card: ModelCard, found: Mapping[str, str | AgenticError]) -> dict[str, str]:
    """The part of ``found`` that is about ``card``.

    :raises AgenticError: what one of its aliases means is not known.
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
    return [uri for uri in card.files.values() if card.pinned(uri) is None and _moves(uri)]


def _moves(uri: str) -> bool:
    known = parse(uri)
    return isinstance(known, RegistryUri) and known.alias is not None
