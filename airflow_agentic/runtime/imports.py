"""Importing the code a card names, and only code that is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_agentic.exceptions import HandlerNotAllowedError, ModelLoadError
from airflow_agentic.handlers import is_allowed, load_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_agentic.spec.model import ModelCard


def check_allowed(path: str, allowed: Sequence[str], *, card: ModelCard, key: str) -> None:
    """Refuse code outside ``allowed``, before anything is imported.

    :raises HandlerNotAllowedError: with what to add where.
    """
    if not is_allowed(path, allowed):
        shown = ", ".join(allowed) or "nothing"
        raise HandlerNotAllowedError(
            f"model {card.name!r}: {key} {path!r} is not in allowed_handlers ({shown}); "
            f"add {path.partition(':')[0]!r} to [agentic] allowed_handlers if you trust it"
        )


def check_card(card: ModelCard, allowed: Sequence[str]) -> None:
    """:func:`check_allowed` of all code that loading ``card`` would import."""
    for key, path in (("runtime.handler", card.runtime.handler), ("runtime.class", card.runtime.class_)):
        if path is not None:
            check_allowed(path, allowed, card=card, key=key)


def import_allowed(path: str, allowed: Sequence[str], *, card: ModelCard, key: str) -> Any:
    """The object ``package.module:Name``.

    :raises HandlerNotAllowedError: it is not allowed.
    :raises ModelLoadError: it cannot be imported.
    """
    check_allowed(path, allowed, card=card, key=key)
    try:
        return load_handler(path, allowed)
    except ModelLoadError as error:
        raise ModelLoadError(f"model {card.name!r}: {key}: {error}") from error
