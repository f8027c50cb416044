"""Sessions: one framework each, imported only when a card asks for it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from airflow_agentic.runtime.base import Session
    from airflow_agentic.spec.model import ModelCard

_OPENERS: Final = {
    "torch": "airflow_agentic.runtime.sessions.torch",
    "tensorflow": "airflow_agentic.runtime.sessions.tensorflow",
    "onnx": "airflow_agentic.runtime.sessions.onnx",
    "litert": "airflow_agentic.runtime.sessions.litert",
    "transformers": "airflow_agentic.runtime.sessions.transformers",
    "open-inference": "airflow_agentic.runtime.sessions.remote",
}


def open_session(card: ModelCard, path: Path | None, *, allowed_handlers: Sequence[str] = ()) -> Session:
    """Load the artifact at ``path`` with the card's framework; a model at a server has none.

    :raises MissingExtraError: the framework is not installed.
    :raises ModelLoadError: the artifact is not what the card says.
    """
    try:
        module = import_module(_OPENERS[card.runtime.framework])
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "service") from None
    opener: Callable[[ModelCard, Path | None, Sequence[str]], Session] = module.open_
    return opener(card, path, allowed_handlers)
