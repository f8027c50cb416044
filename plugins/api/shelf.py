"""The runs of this Airflow, as its API server finds them. Only ids lead to a run: no request names a path or a URI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from airflow_agentic.exceptions import InputError
from airflow_agentic.execution import Folder
from airflow_agentic.execution.runs import RunPlace, StoredRun, look
from airflow_agentic.plugins.api.problems import ProblemError

if TYPE_CHECKING:
    from airflow_agentic.artifacts import Store
    from airflow_agentic.execution import Run
    from airflow_agentic.execution.publish import OpenStore


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where runs lie.

    :param open_store: opens a folder outside of them, where answers may be published.
    """

    base: Store
    deployment: str
    open_store: OpenStore


class Shelf:
    """Finds runs. Blocks.

    :param place: where they lie now.
    """

    def __init__(self, place: Callable[[], Place]) -> None:
        self._place = place

    @property
    def open_store(self) -> OpenStore:
        """See :class:`Place`."""
        return self._where().open_store

    def _where(self) -> Place:
        try:
            return self._place()
        except InputError as error:  # the configuration's, not the caller's
            raise ProblemError(500, str(error)) from error

    def find(self, place: RunPlace) -> StoredRun:
        """The run at ``place``, not expired.

        :raises ProblemError: 404: there is none; 410: it was pruned.
        """
        where = self._where()
        try:
            found = look(where.base, where.deployment, place)
        except InputError:  # an id that cannot name a folder: the id of no run
            raise _none(place) from None
        if found is None:
            raise _none(place)
        if found.tombstone is not None:
            detail = f"the run {place.run_id!r} of {place.dag_id!r} {found.tombstone.sentence}"
            raise ProblemError(410, detail, extra={"expired": asdict(found.tombstone)})
        return found

    def open(self, place: RunPlace) -> Run:
        """The run as it was started last.

        :raises ProblemError: there is none, it was pruned, or it has not read its input yet.
        """
        return opened(self.find(place))


def opened(found: StoredRun) -> Run:
    """The run as it was started last.

    :raises ProblemError: it has not read its input yet.
    """
    if found.manifest is None:
        raise ProblemError(
            404, f"the run {found.place.run_id!r} of {found.place.dag_id!r} has not read its input yet; try again later"
        )
    return Folder(found.store).open(found.manifest)


def _none(place: RunPlace) -> ProblemError:
    hint = (
        f"its Airflow task {place.task_id[:80]!r} committed none"
        if place.task_id
        else "it committed nothing yet, or only model operators did: name one with task_id"
    )
    return ProblemError(404, f"the artifact store holds no run {place.run_id[:80]!r} of {place.dag_id[:80]!r}: {hint}")
