"""Which image carries which framework.

A recipe is a Dockerfile in ``docker/`` (``dockerfiles`` in the package) and the extras of this distribution that it
installs. Cards of several frameworks may share one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_agentic.exceptions import ImageError
from airflow_agentic.spec.base import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVING: Final = ("service", "serving", "postgres")
"""Extras of every image: each can also run the model server and the gateway."""

DOCKERFILES: Final = Path(__file__).resolve().parents[1] / "dockerfiles"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An image of one framework."""

    name: str
    """Of the Dockerfile, and the last part of the image's name."""
    extras: tuple[str, ...]
    """Of this distribution."""
    frameworks: tuple[str, ...]
    """Of the cards that run in it."""

    @property
    def dockerfile(self) -> Path:
        """Its Dockerfile."""
        return DOCKERFILES / f"{self.name}.Dockerfile"


RECIPES: Final[Mapping[str, Recipe]] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="python", extras=(), frameworks=("python", "open-inference")),
        Recipe(name="onnx", extras=("onnx", "litert", "tokenizers"), frameworks=("onnx", "litert")),
        Recipe(name="torch", extras=("torch", "transformers"), frameworks=("torch", "transformers")),
        Recipe(name="tensorflow", extras=("tensorflow", "tokenizers"), frameworks=("tensorflow",)),
    )
}
"""By name."""


def recipe_for(framework: str) -> Recipe:
    """The recipe of cards with ``framework``.

    :raises ImageError: there is no such framework.
    """
    by_framework = {name: recipe for recipe in RECIPES.values() for name in recipe.frameworks}
    if framework not in by_framework:
        near = nearest(framework, by_framework)
        hint = f"did you mean {near!r}?" if near else f"there are: {', '.join(by_framework)}"
        raise ImageError(f"no image is made for framework {framework!r}; {hint}")
    return by_framework[framework]
