"""URIs of models that a registry keeps: ``models:/…`` (MLflow) and ``hf://…`` (the Hugging Face hub).

Only their grammar; no server is asked. Each has one spelling, and says which model it means for good: a version, or a
commit. The exception is an MLflow alias, which is there to be moved: a run finds out once what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from airflow_agentic.spec.explain import MisfitError, in_short

REGISTRY: Final = "models:/"
HUB: Final = "hf://"

_REFUSED: Final = re.compile(r"[\x00-\x1f\x7f%?#\\\"'`]")
_STAGES: Final = frozenset({"production", "staging", "archived", "none"})
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")
_ALIAS: Final = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class RegistryUri:
    """``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``, and ``/path/in/the/model's/folder``."""

    model: str
    version: str | None
    alias: str | None
    path: str
    """Empty for the whole folder."""

    @property
    def name(self) -> str:
        """Of the file or folder."""
        return self.path.rpartition("/")[2] or self.model

    def __str__(self) -> str:
        head = f"{self.model}@{self.alias}" if self.version is None else f"{self.model}/{self.version}"
        return f"{REGISTRY}{head}/{self.path}".removesuffix("/")


@dataclass(frozen=True, kw_only=True)
class HubUri:
    """``hf://ORG/NAME@COMMIT`` and ``/path/in/the/repository``."""

    repository: str
    commit: str
    path: str
    """Empty for the whole repository."""

    @property
    def name(self) -> str:
        """Of the file or folder."""
        return (self.path or self.repository).rpartition("/")[2]

    def __str__(self) -> str:
        return f"{HUB}{self.repository}@{self.commit}/{self.path}".removesuffix("/")


def parse(uri: str) -> RegistryUri | HubUri | None:
    """What ``uri`` names in a registry; ``None`` if it is another kind of URI or a path.

    :raises MisfitError: it names nothing there, or not for good.
    """
    if uri.startswith("models:"):
        return _registry(uri)
    return _hub(uri) if uri.startswith("hf:") else None


def checked(uri: str) -> str:
    """``uri`` as it is, for a spec's validation.

    :raises MisfitError: see :func:`parse`.
    """
    parse(uri)
    return uri


def _registry(uri: str) -> RegistryUri:
    form = "write models:/NAME/VERSION or models:/NAME@ALIAS, and /path/to/the/file in the model's folder"
    if uri.startswith("models://"):
        raise MisfitError(
            f"{in_short(uri)} names a server\nwrite models:/NAME/VERSION; MLFLOW_REGISTRY_URI says which registry"
        )
    first, *rest = _parts(uri, REGISTRY, form)
    model, at, alias = first.partition("@")
    if at:
        if not model or not _ALIAS.fullmatch(alias):
            raise MisfitError(f"{in_short(uri)} names no alias\n{form}")
        return RegistryUri(model=model, version=None, alias=alias, path="/".join(rest))
    if not rest:
        raise MisfitError(f"{in_short(uri)} names no version\n{form}")
    version, *path = rest
    if _VERSION.fullmatch(version):
        return RegistryUri(model=model, version=version, alias=None, path="/".join(path))
    instead = f"write its number, or give it an alias and write models:/{model}@ALIAS"
    if version.lower() == "latest":
        raise MisfitError(f"{in_short(uri)} is whatever was registered last\n{instead}")
    if version.lower() in _STAGES:
        raise MisfitError(f"{in_short(uri)} names the stage {version!r}; MLflow has deprecated stages\n{instead}")
    raise MisfitError(f"{in_short(version)} is no version of a model\n{form}")


def _hub(uri: str) -> HubUri:
    form = "write hf://ORG/NAME@COMMIT, and /path/to/the/file in the repository"
    organisation, *rest = _parts(uri, HUB, form)
    if not rest or organisation in {"datasets", "spaces", "buckets", "kernels"} or "@" in organisation:
        raise MisfitError(f"{in_short(uri)} names no model of the hub\n{form}")
    name, _, revision = rest[0].partition("@")
    if not _COMMIT.fullmatch(revision):
        asked = f", revision={revision!r}" if revision else ""
        why = f"{revision!r} is no commit: a branch or tag can move" if revision else "without a commit it can change"
        ask = f"from huggingface_hub import model_info; print(model_info('{organisation}/{name}'{asked}).sha)"
        raise MisfitError(
            f"{in_short(uri)} is not pinned: {why}\nwrite hf://{organisation}/{name}@COMMIT with the commit's "
            f'40 hexadecimal digits; this prints them: python -c "{ask}"'
        )
    return HubUri(repository=f"{organisation}/{name}", commit=revision, path="/".join(rest[1:]))


def _parts(uri: str, scheme: str, form: str) -> list[str]:
    if not uri.startswith(scheme):
        raise MisfitError(f"{in_short(uri)} cannot be understood\n{form}")
    parts = uri.removeprefix(scheme).split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise MisfitError(f"{in_short(uri)} has an empty part, '.' or '..'\n{form}")
    odd = _REFUSED.search(uri)
    if odd is not None:
        raise MisfitError(f"{in_short(uri)} holds {odd[0]!r}\nwrite names as they are, without quotes or %-codes")
    return parts
