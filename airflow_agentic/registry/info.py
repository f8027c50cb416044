"""What routing needs to know of a model: a few numbers, not the card.

Made from the card at compile time; a run's snapshot replaces the profile by a measured one and says which models are
healthy, and is stored in the frozen plan, so that a retry decides as the first try did.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field

from airflow_agentic.artifacts.digests import digest
from airflow_agentic.spec.base import Strict
from airflow_agentic.spec.model import InputType, ModelCard, ScoreKind  # pydantic reads them


class ModelInfo(Strict):
    """A candidate as routing sees it."""

    name: str
    version: str
    task: str
    input: InputType
    label_space: str | None = None
    score_kind: ScoreKind = "probability"
    cost: float = 0.0
    """Of one record."""
    latency_ms: float | None = None
    quality: float | None = None
    capabilities: dict[str, str | float | bool | list[str]] = Field(default_factory=dict)
    deterministic: bool = True
    digest: str
    artifact: str | None = None
    """SHA-256 of the artifact as a run found it when it froze its plan; ``None`` of a remote one that is not pinned."""
    files: dict[str, str] = Field(default_factory=dict)
    """The same of the card's other files, by URI."""
    versions: dict[str, str] = Field(default_factory=dict)
    """What the card's URIs with an MLflow alias meant when a run froze its plan: URIs with a version."""
    healthy: bool = True
    why_unhealthy: str | None = None

    @classmethod
    def of(cls, card: ModelCard) -> ModelInfo:
        """The declared facts of ``card``."""
        return cls(
            name=card.name,
            version=card.version,
            task=card.task,
            input=card.input,
            label_space=card.output.label_space,
            score_kind=card.output.score_kind,
            cost=card.cost,
            latency_ms=card.profile.latency_ms,
            quality=card.profile.quality,
            capabilities=card.capabilities,
            deterministic=card.deterministic,
            digest=card_digest(card),
        )

    def has(self, key: str, wanted: str | float | bool) -> bool:
        """Whether the capability ``key`` is ``wanted``, or a list that holds it."""
        value = self.capabilities.get(key)
        return wanted in value if isinstance(value, list) else value == wanted


_NOT_IDENTITY: Final = {"threads", "trust", "files", "tensors"}


def card_digest(card: ModelCard, artifact: str | None = None, files: Mapping[str, str] | None = None) -> str:
    """Identity of the model a card describes: what changes an answer, and nothing else.

    Of a model at a server that is its name and version there, not where the server is.

    :param artifact: the digest of the artifact's bytes, where it is known (in a run's frozen plan).
    :param files: the digests of the card's other files, by URI, where they are known.
    """
    unsaid = _NOT_IDENTITY if card.runtime.framework == "open-inference" else _NOT_IDENTITY | {"model", "version"}
    identity = card.model_dump(
        mode="json",
        by_alias=True,
        include={"name", "version", "task", "input", "output", "runtime"},
        exclude={"runtime": unsaid},
    )
    return digest({"card": identity, "artifact": artifact, "files": dict(files or card.runtime.files)})
