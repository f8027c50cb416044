"""The command that builds and lists images: ``docker``, or one that takes the same arguments.

Which of Docker's builders works, BuildKit or the older one, is the engine's own setting; both give the same layers.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from airflow_agentic.exceptions import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FRAMEWORK: Final = "airflow-agentic.framework"
MODEL: Final = "airflow-agentic.model"
MODEL_VERSION: Final = "airflow-agentic.model-version"
MODEL_DIGEST: Final = "airflow-agentic.model-digest"
TITLE: Final = "org.opencontainers.image.title"
VERSION: Final = "org.opencontainers.image.version"


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of this project, under one of its names."""

    name: str
    """With the registry, without the tag."""
    tag: str
    framework: str
    model: str | None
    """The card's name; ``None`` of a framework's image."""
    version: str | None
    """The model's, else this project's."""
    digest: str | None
    """The model's, as ``airflow-agentic models show`` prints it."""
    size: int
    """Bytes on disk, layers that it shares with others included."""
    id: str

    @property
    def reference(self) -> str:
        """What a card's ``image`` names it by."""
        return f"{self.name}:{self.tag}"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A container engine's command.

    :param say: is given each line that a build or a push prints.
    """

    command: str = "docker"
    say: Callable[[str], None] = print

    def build(self, folder: Path, reference: str, *, arguments: Mapping[str, str], labels: Mapping[str, str]) -> None:
        """Build the Dockerfile in ``folder`` as ``reference``.

        :param arguments: build arguments.
        :raises ImageError: it failed.
        """
        options = [option for name, value in arguments.items() for option in ("--build-arg", f"{name}={value}")]
        options += [option for name, value in labels.items() for option in ("--label", f"{name}={value}")]
        self._watch(["build", "--tag", reference, *options, str(folder)], reference)

    def push(self, reference: str) -> None:
        """Send it to the registry that its name begins with.

        :raises ImageError: it failed.
        """
        self._watch(["push", reference], reference)

    def images(self) -> list[Image]:
        """The images of this project that the engine has, by name and tag.

        :raises ImageError: it does not answer.
        """
        ids = self._ask(["image", "ls", "--quiet", "--no-trunc", "--filter", f"label={FRAMEWORK}"]).split()
        return self.inspect(list(dict.fromkeys(ids))) if ids else []

    def inspect(self, names: Sequence[str]) -> list[Image]:
        """The images called ``names``, an entry for each name that one has.

        :raises ImageError: one is not there.
        """
        found = [image for entry in json.loads(self._ask(["image", "inspect", *names])) for image in _named(entry)]
        return sorted(found, key=lambda image: (image.name, image.tag))

    def _ask(self, arguments: Sequence[str]) -> str:
        try:
            found = subprocess.run([self.command, *arguments], capture_output=True, text=True, check=False)
        except OSError as error:
            raise self._missing(error) from None
        if found.returncode != 0:
            raise ImageError(f"`{self.command} {' '.join(arguments[:2])}` failed: {found.stderr.strip()}")
        return found.stdout

    def _watch(self, arguments: Sequence[str], reference: str) -> None:
        try:
            running = subprocess.Popen(
                [self.command, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise self._missing(error) from None
        last = ""
        with running:
            for line in running.stdout or ():
                self.say(line.rstrip("\n"))
                last = line.strip() or last
        if running.returncode != 0:
            raise ImageError(
                f"`{self.command} {arguments[0]}` of {reference} failed with exit code {running.returncode}: {last}"
            )

    def _missing(self, error: OSError) -> ImageError:
        return ImageError(
            f"the engine {self.command!r} cannot be started ({error.strerror}); install Docker or Podman, or name "
            "another with --engine"
        )


def _named(entry: Mapping[str, Any]) -> list[Image]:
    """The entry of ``image inspect`` under each of its names; an image that lost its name is left out."""
    labels = (entry.get("Config") or {}).get("Labels") or {}
    images = []
    for reference in entry.get("RepoTags") or []:
        name, _, tag = reference.rpartition(":")
        images.append(
            Image(
                name=name,
                tag=tag,
                framework=labels.get(FRAMEWORK, ""),
                model=labels.get(MODEL),
                version=labels.get(MODEL_VERSION) or labels.get(VERSION),
                digest=labels.get(MODEL_DIGEST),
                size=int(entry["Size"]),
                id=str(entry["Id"]),
            )
        )
    return images
