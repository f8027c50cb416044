"""The models of a server, by name and version, and how new versions of cards take over.

A new version is loaded beside the old one, then takes its place for requests that name no version; the old one answers
what it was asked, and is unloaded. One that cannot be loaded changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import AgenticError, UnknownModelError
from airflow_agentic.registry.info import card_digest
from airflow_agentic.serving.served import Load, ServedModel
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.serving.batching import Bounds
    from airflow_agentic.spec.model import ModelCard

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 5.0


class Repository:
    """The models that a server has.

    :param cards: reads the cards to serve, as they are now.
    """

    def __init__(self, cards: Callable[[], Sequence[ModelCard]], load: Load, bounds: Bounds) -> None:
        self._cards = cards
        self._load = load
        self._bounds = bounds
        self._models: dict[str, dict[str, ServedModel]] = {}
        self._current: dict[str, ServedModel] = {}
        self._refused: dict[str, str] = {}
        self.by_path: dict[str, ServedModel] = {}
        """The model of each path that requests took, while it is the right one."""

    @property
    def current(self) -> Mapping[str, ServedModel]:
        """By name: the version that answers where a request names none."""
        return self._current

    @property
    def ready(self) -> bool:
        """Whether every model answers."""
        return bool(self._current) and all(model.ready for model in self._current.values())

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model that are loaded."""
        return tuple(self._models.get(name, ()))

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """A model.

        :raises UnknownModelError: there is none.
        """
        found = self._current.get(name) if version is None else self._models.get(name, {}).get(version)
        if found is not None:
            return found
        if name in self._models:
            held = ", ".join(self._models[name])
            raise UnknownModelError(f"model {name!r} has no version {version!r} here; there are: {held}")
        near = nearest(name, self._models)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(self._models)) or 'none'}"
        raise UnknownModelError(f"no model is called {name!r} here; {hint}")

    async def start(self) -> None:
        """Load every model, one after the other.

        :raises AgenticError: one cannot be loaded.
        """
        models = [ServedModel(card, self._load, self._bounds) for card in await asyncio.to_thread(self._cards)]
        for model in models:
            self._place(model)
        for model in models:
            await model.start()

    def _place(self, model: ServedModel) -> None:
        self._models.setdefault(model.card.name, {})[model.card.version] = model
        self._current[model.card.name] = model
        self.by_path.clear()

    async def follow(self, seconds: float = POLL_SECONDS) -> None:
        """Look for new versions of cards, for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except AgenticError:
                log.exception("the cards cannot be read; what is loaded goes on")

    async def refresh(self) -> None:
        """Load the versions that are new, and unload what has no card any more."""
        cards = {card.name: card for card in await asyncio.to_thread(self._cards)}
        for card in cards.values():
            current = self._current.get(card.name)
            if current is None or current.card.version != card.version:
                await self._replace(current, card)
            elif card_digest(current.card) != card_digest(card):
                self._refuse(card, "the card has changed under the same version; give it another version")
        for name in self._current.keys() - cards.keys():
            await self._unload(self._current.pop(name))

    async def _replace(self, old: ServedModel | None, card: ModelCard) -> None:
        if self._refused.get(card.name) == card_digest(card):
            return
        model = ServedModel(card, self._load, self._bounds)
        try:
            await model.start()
        except AgenticError as error:
            self._refuse(card, str(error))
            return
        self._place(model)
        log.warning("model %r: version %r answers now", card.name, card.version)
        if old is not None:
            await self._unload(old)

    def _refuse(self, card: ModelCard, why: str) -> None:
        """Say why a card is not served; once, until it is edited."""
        digest = card_digest(card)
        if self._refused.get(card.name) != digest:
            self._refused[card.name] = digest
            log.error("model %r: version %r is not served: %s", card.name, card.version, why)

    async def _unload(self, model: ServedModel) -> None:
        self.by_path.clear()
        await model.close()
        versions = self._models[model.card.name]
        self.by_path.clear()
        if versions.get(model.card.version) is model:
            del versions[model.card.version]
        if not versions:
            del self._models[model.card.name]

    async def close(self) -> None:
        """Unload every model."""
        models = [model for versions in self._models.values() for model in versions.values()]
        await asyncio.gather(*(asyncio.to_thread(model.stop) for model in models))
