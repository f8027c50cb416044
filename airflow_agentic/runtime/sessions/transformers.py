"""Hugging Face transformers, from a local folder; nothing is downloaded and no code of the folder runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import MissingExtraError, ModelLoadError
from airflow_agentic.runtime.base import UNKNOWN
from airflow_agentic.runtime.sessions.torch import TorchSession, import_torch, torch_device

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from airflow_agentic.runtime.base import Arrays, Session
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

CLASSES: Final = {
    "text-classification": "AutoModelForSequenceClassification",
    "text-embedding": "AutoModel",
    "feature-extraction": "AutoModel",
    "sentence-similarity": "AutoModel",
}
"""Card tasks → the transformers class; a task that is not here follows the card's output: classes or not."""


class TransformersSession:
    """A transformers model; without ``runtime.output_name`` only its main output is given."""

    signature = UNKNOWN

    def __init__(self, card: ModelCard, session: TorchSession) -> None:
        self._wanted = card.runtime.output_name
        self._session = session

    def run(self, inputs: Arrays) -> Arrays:
        """See :class:`~airflow_agentic.runtime.base.Session`."""
        found = self._session.run(inputs)
        main = next((name for name in ("logits", "last_hidden_state") if name in found), None)
        return found if self._wanted is not None or main is None else {main: found[main]}

    def close(self) -> None:
        """Free the model."""
        self._session.close()


def open_(card: ModelCard, path: Path, allowed_handlers: Sequence[str]) -> Session:
    """Load the folder ``path``; its weights must be safetensors unless the card says ``trust: pickle``."""
    torch = import_torch(card)
    device = torch_device(torch, card)
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "transformers") from None
    if not path.is_dir():
        raise ModelLoadError(
            f"model {card.name!r}: framework transformers needs a folder (config.json, model.safetensors); "
            f"{card.runtime.artifact!r} is a file"
        )
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # has no annotations
    name = CLASSES.get(card.task, CLASSES["text-classification" if card.output.classes else "text-embedding"])
    module = getattr(transformers, name).from_pretrained(path, local_files_only=True, **_trust(card))
    return TransformersSession(card, TorchSession(torch, module.eval().to(device), device))


def _trust(card: ModelCard) -> dict[str, Any]:
    if card.runtime.trust != "pickle":
        return {"use_safetensors": True}
    log.warning("model %r: loading %r may run code in it (runtime.trust: pickle)", card.name, card.runtime.artifact)
    return {"weights_only": False}
