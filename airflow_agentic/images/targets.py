"""Images for cards and frameworks: what they are called, and how they are made."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import airflow_agentic
from airflow_agentic.exceptions import ImageError
from airflow_agentic.images import engine as labels
from airflow_agentic.images.context import BakedFile, bake, write_context
from airflow_agentic.images.distribution import checked_wheel, make_wheel, revision
from airflow_agentic.images.recipes import Recipe, recipe_for
from airflow_agentic.registry.info import card_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_agentic.images.engine import Engine, Image
    from airflow_agentic.spec.model import ModelCard

REPOSITORY: Final = "airflow-agentic"
"""What the images' names begin with."""

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Target:
    """An image to make."""

    recipe: Recipe
    reference: str
    """Name and tag."""
    card: ModelCard | None = None
    """Whose files are baked in."""

    @classmethod
    def of_card(cls, card: ModelCard, *, repository: str = REPOSITORY, tag: str | None = None) -> Target:
        """``REPOSITORY/NAME:VERSION``, with ``_`` for a ``+`` in the version, which no tag may have.

        :raises ImageError: that is no name of an image.
        """
        reference = _reference(repository, card.name, tag or card.version.replace("+", "_"))
        return cls(recipe=recipe_for(card.runtime.framework), reference=reference, card=card)

    @classmethod
    def of_framework(cls, framework: str, *, repository: str = REPOSITORY, tag: str | None = None) -> Target:
        """``REPOSITORY/FRAMEWORK:VERSION``, the version being ours; frameworks that share an image share its name.

        :raises ImageError: there is no such framework, or that is no name of an image.
        """
        recipe = recipe_for(framework)
        version = airflow_agentic.__version__.replace("+", "_")
        return cls(recipe=recipe, reference=_reference(repository, recipe.name, tag or version))


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What images are made from."""

    base_image: str | None = None
    """In place of the Dockerfiles' own: Debian with Python 3.11 or newer and pip."""
    torch_index: str | None = None
    """A further index to look for torch in."""
    packages: tuple[str, ...] = ()
    """Further packages: requirements as pip takes them, or paths of wheels."""
    wheel: Path | None = None
    """Of this project in this version; made where there is none."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """An image that was made."""

    image: Image
    files: tuple[BakedFile, ...]


def build(targets: Sequence[Target], engine: Engine, sources: Sources = Sources()) -> Iterator[Built]:
    """Make the images of ``targets``, one after another.

    :raises ImageError: one cannot be made; those before it stay.
    :raises ArtifactError: a file that a card names cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="airflow-agentic-images-") as temporary:
        wheels = Path(temporary) / "wheel"
        wheels.mkdir()
        wheel = make_wheel(wheels) if sources.wheel is None else checked_wheel(sources.wheel)
        for target in targets:
            with tempfile.TemporaryDirectory(dir=temporary) as folder:
                yield _build(target, Path(folder), wheel, engine, sources)


def _build(target: Target, folder: Path, wheel: Path, engine: Engine, sources: Sources) -> Built:
    write_context(folder, target.recipe, wheel, sources.packages)
    files = tuple(bake(target.card, folder / "models")) if target.card is not None else ()
    arguments = {
        "BASE_IMAGE": sources.base_image,
        "TORCH_INDEX": sources.torch_index if target.recipe.name == "torch" else None,
        "VERSION": airflow_agentic.__version__,
        "REVISION": revision() if sources.wheel is None else None,
    }
    given = {name: value for name, value in arguments.items() if value}
    engine.build(folder, target.reference, arguments=given, labels=_labels(target.card, files))
    made = [image for image in engine.inspect([target.reference]) if image.reference.endswith(target.reference)]
    return Built(image=made[0], files=files)


def _labels(card: ModelCard | None, files: Sequence[BakedFile]) -> dict[str, str]:
    if card is None:
        return {}
    artifact = next((file.sha256 for file in files if file.key == "runtime.artifact"), None)
    return {
        labels.FRAMEWORK: card.runtime.framework,
        labels.MODEL: card.name,
        labels.MODEL_VERSION: card.version,
        labels.MODEL_DIGEST: card_digest(card, artifact),
        labels.TITLE: card.name,
        labels.VERSION: card.version,
    }


def _reference(repository: str, name: str, tag: str) -> str:
    whole = f"{repository.rstrip('/')}/{name}"
    if _NAME.fullmatch(whole) is None:
        raise ImageError(
            f"{whole!r} is no name of an image: lower-case letters, digits and single '.', '_', '-' between them; "
            "give another --repository, or the card another name"
        )
    if _TAG.fullmatch(tag) is None:
        raise ImageError(f"{tag!r} is no tag of an image: letters, digits, '.', '_' and '-', at most 128")
    return f"{whole}:{tag}"
