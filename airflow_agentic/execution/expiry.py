"""Expired runs: nothing of them is left but a tombstone that says so.

``expired.json`` in a run's folder is the tombstone. Invariants:

1. A run with a tombstone has expired, whatever else still lies in its folder: :meth:`Folder.open` refuses it. So a run
   that is half deleted is never taken for a good one.
2. The tombstone is written before the first object is deleted. A crash in between is finished by the next prune.
3. Whoever deletes looks at the run again after the tombstone is written. Has somebody written to it meanwhile, the
   tombstone is taken back and nothing is deleted.
4. Markers, manifests and plans go before the data: who still has the run open finds no marker whose data is gone.
5. Only :meth:`Folder.start` ends the expiry, because Preprocess reads the input again: it deletes what is left first,
   the tombstone last. A zombie of the earlier try that writes later commits answers to the same questions, under the
   same keys. Where its data file was deleted before it could write the marker, the next reader says so.
6. What is written behind a tombstone (a zombie, a task that had opened the run before) is deleted by the next prune.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from airflow_agentic.artifacts import NotFoundError
from airflow_agentic.exceptions import ArtifactError, ExpiredRunError

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Store
    from airflow_agentic.artifacts.store import StoredObject

SCHEMA_VERSION: Final = 1
EXPIRED: Final = "expired.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """What is left of an expired run. It names no record."""

    expired_at: str
    """ISO 8601, UTC."""
    why: str
    workflow: str
    records: int
    published: tuple[str, ...] = ()
    """Folders outside the artifact store's run that hold its published answers: the user's, so not deleted."""

    @property
    def sentence(self) -> str:
        """``expired on 2026-11-26: last written 2026-10-01, kept for 30d``."""
        return f"expired on {self.expired_at[:10]}: {self.why}"


def tombstone_of(store: Store) -> Tombstone | None:
    """The tombstone of the run whose folder ``store`` is, if it has expired.

    :raises ArtifactError: it is damaged or of another schema.
    """
    try:
        document = json.loads(store.read(EXPIRED))
        if document.pop("schema") != SCHEMA_VERSION:
            raise ArtifactError(
                f"{store.uri(EXPIRED)} has another schema than {SCHEMA_VERSION}: the run has expired; "
                "read it with the version of airflow-agentic that pruned it, or clear the whole run"
            )
        return Tombstone(**{**document, "published": tuple(document["published"])})
    except NotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{store.uri(EXPIRED)} is damaged ({error!r}): the run has expired; delete it") from error


def refuse_expired(store: Store) -> None:
    """:raises ExpiredRunError: the run has expired."""
    found = tombstone_of(store)
    if found is not None:
        raise ExpiredRunError(
            f"the run in {store.base} {found.sentence}. Its records, predictions and answers are deleted; "
            "clear the whole run to compute it anew from its input"
        )


def bury(store: Store, tombstone: Tombstone) -> bool:
    """Write the tombstone; ``False`` if there is one already."""
    document = {"schema": SCHEMA_VERSION, **asdict(tombstone)}
    return store.create(EXPIRED, json.dumps(document, indent=1).encode("ascii"))


def sweep(store: Store) -> list[StoredObject]:
    """Delete everything of an expired run but its tombstone, and return what that was."""
    found = [one for one in store.objects() if one.name != EXPIRED]
    for one in sorted(found, key=lambda one: not one.name.endswith(".json")):
        store.delete(one.name)
    return found


def revive(store: Store) -> None:
    """Make an expired run one that has not begun. What was deleted does not come back."""
    found = tombstone_of(store)
    if found is None:
        return
    log.warning("the run in %s %s; it is computed anew from its input", store.base, found.sentence)
    sweep(store)
    store.delete(EXPIRED)
