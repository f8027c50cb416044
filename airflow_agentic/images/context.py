"""The folder that an image is built in.

::

    wheel/          this code
    requirements/   what it and its servers require without Airflow (light.txt); what a framework takes (framework.txt)
    packages/       further packages: requirements.txt and wheels
    models/         SHA256/NAME: the files that a card names, as the cache has them; empty for a framework's image
    Dockerfile

All is readable by every user, whatever the permissions here.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from airflow_agentic.artifacts.digests import tree_digest
from airflow_agentic.exceptions import ImageError
from airflow_agentic.images.distribution import requirements
from airflow_agentic.images.recipes import SERVING
from airflow_agentic.runtime.artifacts import file_name, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_agentic.images.recipes import Recipe
    from airflow_agentic.spec.model import ModelCard

PACKAGES: Final = "/requirements/packages"
"""Where ``packages/`` lies while they are installed."""


@dataclass(frozen=True, kw_only=True)
class BakedFile:
    """A file or folder of a model, in the image as ``/models/{sha256}/{name}``."""

    key: str
    """What names it in the card: ``runtime.artifact``."""
    uri: str
    sha256: str
    """Of a folder its tree's digest."""
    name: str


def write_context(folder: Path, recipe: Recipe, wheel: Path, packages: Sequence[str] = ()) -> None:
    """Fill ``folder`` with what ``recipe`` needs, without models.

    :param packages: requirements as pip takes them, or paths of wheels.
    :raises ImageError: a wheel does not exist.
    """
    for name in ("wheel", "requirements", "packages", "models"):
        (folder / name).mkdir()
    shutil.copyfile(recipe.dockerfile, folder / "Dockerfile")
    shutil.copyfile(wheel, folder / "wheel" / wheel.name)
    light = dict.fromkeys([*requirements(wheel), *requirements(wheel, extras=SERVING)])
    _write_lines(folder / "requirements" / "light.txt", list(light))
    _write_lines(folder / "requirements" / "framework.txt", requirements(wheel, extras=recipe.extras))
    _write_lines(folder / "packages" / "requirements.txt", [_package(one, folder / "packages") for one in packages])
    _make_readable(folder)


def bake(card: ModelCard, folder: Path) -> list[BakedFile]:
    """Copy every file that ``card`` names into ``folder``; it is found here as a model process would find it.

    :raises ChecksumError: the artifact is not the pinned one.
    :raises ArtifactError: a file cannot be had.
    """
    baked = [_bake(key, uri, card.pinned(uri), card.folder, folder) for key, uri in card.files.items()]
    _make_readable(folder)
    return baked


def _bake(key: str, uri: str, sha256: str | None, base: Path, folder: Path) -> BakedFile:
    path = resolve(uri, base=base, sha256=sha256)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as temporary:
        copy = Path(temporary) / "copy"
        if path.is_dir():
            shutil.copytree(path, copy, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(path, copy)
        baked = BakedFile(key=key, uri=uri, sha256=tree_digest(copy), name=file_name(uri))
        place = folder / baked.sha256 / baked.name
        place.parent.mkdir(exist_ok=True)
        if not place.exists():  # a card may name one file twice
            copy.rename(place)
    return baked


def _package(requirement: str, folder: Path) -> str:
    if not requirement.endswith(".whl"):
        return requirement
    if not Path(requirement).is_file():
        raise ImageError(f"the package {requirement!r} does not exist; name a wheel, or a requirement as pip takes it")
    shutil.copyfile(requirement, folder / Path(requirement).name)
    return f"{PACKAGES}/{Path(requirement).name}"


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _make_readable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
