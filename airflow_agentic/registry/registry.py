"""The model cards a workflow can use, by name and by what they can do.

Cards come from folders and from installed packages that declare the entry point group ``airflow_agentic.models``
(its value is a package whose folder ``models`` holds cards; it is located, not imported). A card that cannot be read
is kept as broken: only a workflow that names it fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import SpecError
from airflow_agentic.registry.info import ModelInfo, card_digest
from airflow_agentic.spec.load import load_model, spec_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_agentic.spec.model import ModelCard
    from airflow_agentic.spec.pattern import Query

ENTRY_POINTS: Final = "airflow_agentic.models"


@dataclass(frozen=True)
class Registry:
    """Cards by name; ``broken`` holds the error of each unreadable card by its file's stem."""

    cards: Mapping[str, ModelCard] = field(default_factory=dict)
    broken: Mapping[str, SpecError] = field(default_factory=dict)

    @classmethod
    def load(cls, folders: Iterable[Path], *, packages: bool = True) -> Registry:
        """The cards of ``folders`` and, where asked, of installed packages.

        Two different models of one name are both broken: which one is meant cannot be known. Of two cards of the same
        model the first counts, so that a project can state another profile or other resources than a package does.
        """
        cards: dict[str, ModelCard] = {}
        broken: dict[str, SpecError] = {}
        found = [*folders, *(package_folders() if packages else [])]
        for path in (path for folder in found for path in spec_files(folder)):
            try:
                card = load_model(path)
            except SpecError as error:
                broken[path.stem] = error
                continue
            first = cards.setdefault(card.name, card)
            if card_digest(first) != card_digest(card):
                broken[card.name] = _twice(first, card)
        return cls({name: card for name, card in sorted(cards.items()) if name not in broken}, broken)

    @classmethod
    def of(cls, *cards: ModelCard) -> Registry:
        """A registry of these cards."""
        return cls({card.name: card for card in sorted(cards, key=lambda card: card.name)})

    def query(self, query: Query) -> list[ModelCard]:
        """The cards that satisfy every part of ``query``, by name."""
        return [card for card in self.cards.values() if _satisfies(card, query)]


def _satisfies(card: ModelCard, query: Query) -> bool:
    info = ModelInfo.of(card)
    return (
        (query.task is None or card.task == query.task)
        and (query.input is None or card.input == query.input)
        and (query.label_space is None or info.label_space == query.label_space)
        and all(info.has(key, wanted) for key, wanted in query.capabilities.items())
    )


def _twice(first: ModelCard, second: ModelCard) -> SpecError:
    message = f"a different model is already called {first.name!r} ({first.source.file})"
    return SpecError(second.problem(("name",), message, "give one of them another name"))


@cache
def package_folders() -> tuple[Path, ...]:
    """The folders of the cards that installed packages declare; looked for once in a process."""
    folders: list[Path] = []
    for entry_point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        # the top package only: to find a module inside one, Python imports it
        top, *below = entry_point.value.partition(":")[0].strip().split(".")
        spec = util.find_spec(top)
        places = spec.submodule_search_locations if spec else None
        folders += [Path(place, *below, "models") for place in places or []]
    return tuple(folders)
