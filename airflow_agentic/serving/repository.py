"""The models of a server, by name and version, and how new versions of cards take over.

A new version is loaded beside the old one, then takes its place; the old one answers what it was asked, and is
unloaded. One that cannot be loaded changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import AgenticError, ModelUnavailableError, UnknownModelError
from airflow_agentic.registry.info import card_digest
from airflow_agentic.serving.served import Load, ServedModel
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from airflow_agentic.openinference.tensors import InferRequest, InferResponse
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
        self._current: dict[str, ServedModel] = {}
        self._leaving: set[ServedModel] = set()
        self._said: dict[str, str] = {}
        """Of each card that is not served, and of all cards under ``""``: what the log has said already."""
        self._refused: dict[str, str] = {}
        """Digests of cards that cannot be loaded, ever."""
        self._started = False
        self.by_path: dict[str, ServedModel] = {}
        """The model of each path that requests took, while it is the right one."""

    @property
    def current(self) -> Mapping[str, ServedModel]:
        """The models, by name."""
        return self._current

    @property
    def ready(self) -> bool:
        """Whether each model was loaded once, and one answers now."""
        return self._started and any(model.ready for model in self._current.values())

    def versions(self, name: str) -> tuple[str, ...]:
        """The versions of a model that answer."""
        found = self._current.get(name)
        return () if found is None else (found.card.version,)

    def find(self, name: str, version: str | None = None) -> ServedModel:
        """A model.

        :raises UnknownModelError: there is none.
        """
        found = self._current.get(name)
        if found is not None and version in {None, found.card.version}:
            return found
        if found is not None:
            raise UnknownModelError(f"model {name!r} has no version {version!r} here; there are: {found.card.version}")
        near = nearest(name, self._current)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(sorted(self._current)) or 'none'}"
        raise UnknownModelError(f"no model is called {name!r} here; {hint}")

    def at(self, path: str, name: str, version: str | None) -> ServedModel:
        """The model of a path that requests take; remembered in ``by_path``.

        :raises UnknownModelError: there is none.
        """
        found = self.by_path[path] = self.find(name, version)
        return found

    async def infer(
        self, name: str, version: str | None, request: InferRequest, until: float | None = None
    ) -> InferResponse:
        """Answer ``request`` by a model, or by the version that has just taken its place; see ``ServedModel.infer``.

        :raises UnknownModelError: there is none.
        """
        model = self.find(name, version)
        try:
            return await model.infer(request, until)
        except ModelUnavailableError:
            if model.state != "unloaded" or self._current.get(name) is model:
                raise
        return await self.find(name, version).infer(request, until)

    async def start(self) -> None:
        """Load every model, one after the other.

        :raises Exception: one cannot be loaded.
        """
        for card in await asyncio.to_thread(self._cards):
            self._current[card.name] = ServedModel(card, self._load, self._bounds)
        for model in tuple(self._current.values()):
            await model.start()
        self._started = True

    async def follow(self, seconds: float = POLL_SECONDS) -> None:
        """Look for new versions of cards, for ever."""
        while True:
            await asyncio.sleep(seconds)
            await self.refresh()

    async def refresh(self) -> None:
        """Load the versions that are new, and unload what has no card any more; whatever goes wrong is logged."""
        try:
            cards = {card.name: card for card in await asyncio.to_thread(self._cards)}
        except (AgenticError, OSError) as error:
            self._say("", f"the cards cannot be used, what is loaded goes on: {error}")
            return
        self._said.pop("", None)
        for card in cards.values():
            current = self._current.get(card.name)
            if current is None or current.card.version != card.version:
                await self._replace(current, card)
            elif card_digest(current.card) != card_digest(card):
                self._say(card.name, f"{_named(card)} has changed under the same version; give it another version")
            else:
                self._said.pop(card.name, None)
        for name in self._current.keys() - cards.keys():
            log.info("model %r has no card any more, it is unloaded", name)
            await self._unload(self._current.pop(name))

    async def _replace(self, old: ServedModel | None, card: ModelCard) -> None:
        digest = card_digest(card)
        if self._refused.get(card.name) == digest:
            return
        model = ServedModel(card, self._load, self._bounds)
        try:
            await model.start()
        except Exception as error:  # noqa: BLE001  # a framework raises what it likes; what is loaded goes on
            self._say(card.name, f"{_named(card)} cannot be loaded and is not served: {error}")
            if not (isinstance(error, AgenticError) and error.retryable):
                self._refused[card.name] = digest
            return
        self._said.pop(card.name, None)
        self._current[card.name] = model
        self.by_path.clear()
        if old is not None:
            log.info("model %r: version %r takes the place of %r", card.name, card.version, old.card.version)
            await self._unload(old)

    def _say(self, name: str, what: str) -> None:
        """Log what is wrong; not again and again."""
        if self._said.get(name) != what:
            self._said[name] = what
            log.error("%s", what)

    async def _unload(self, model: ServedModel) -> None:
        self.by_path.clear()
        self._leaving.add(model)
        await model.close()
        self._leaving.discard(model)

    async def close(self) -> None:
        """Unload every model at once."""
        await asyncio.gather(*(model.stop() for model in {*self._current.values(), *self._leaving}))


def _named(card: ModelCard) -> str:
    return f"model {card.name!r}: version {card.version!r}"
