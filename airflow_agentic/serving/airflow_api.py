"""Airflow's public REST API, as far as the gateway needs it for ``mode: dag``.

A Dag run of ours answers the records in its conf (``records``, see ``dagbuilder.params``) and leaves the answers in the
artifact store; :mod:`.dag_answers` reads them there. XCom is not asked: it holds counts only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DagRunState = Literal["queued", "running", "success", "failed"]


@dataclass(frozen=True, kw_only=True)
class AirflowLogin:
    """How to reach an Airflow: one of ``token``, ``token_file``, or ``user`` and ``password``.

    :raises AccessSettingsError: none of them, several, or a URL that is no http one.
    """

    url: str
    """Of the API server, as ``https://airflow.example.com``; a path before ``/api/v2`` stays."""
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """Read again when Airflow refuses the token."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    """Exchanged at ``/auth/token``; again when Airflow refuses the token."""


@dataclass(frozen=True, kw_only=True)
class DagRun:
    """A Dag run as Airflow shows it."""

    dag_id: str
    run_id: str
    state: DagRunState
    url: str
    """Of its page."""

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state in ("success", "failed")


def run_id_of(job_id: str) -> str:
    """The id of the Dag run that answers a job: a retry finds the run that the first try made."""
    return f"gateway-{job_id}"


def conf_of(records: Sequence[Mapping[str, Any]], *, task: str | None = None) -> dict[str, Any]:
    """The conf of a Dag run that answers ``records``.

    :param records: JSON objects as of an input's JSON lines: ``{"text": …}``, ``{"uri": …}``, ``{"bytes": base64}``…
    :param task: of records that name none.
    :raises InputError: none, or more than a conf holds.
    """
    raise NotImplementedError


class AirflowApi:
    """A client; to be closed. Errors: :class:`AirflowRefusedError`, :class:`AirflowUnavailableError`."""

    def __init__(self, login: AirflowLogin) -> None:
        raise NotImplementedError

    async def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any]) -> DagRun:
        """Start a run, or find the one of that id.

        :raises AirflowRefusedError: no such Dag, it is paused, it refuses the conf, or the run of that id was started
            with another conf.
        """
        raise NotImplementedError

    async def run(self, dag_id: str, run_id: str) -> DagRun:
        """The run as it is now."""
        raise NotImplementedError

    async def wait(self, dag_id: str, run_id: str, *, timeout: float) -> DagRun:
        """The run once it has ended, or as it is after ``timeout`` seconds."""
        raise NotImplementedError

    async def cancel(self, dag_id: str, run_id: str) -> DagRun:
        """End the run as failed, with its Airflow tasks; one that has ended stays as it is."""
        raise NotImplementedError

    async def failed_tasks(self, dag_id: str, run_id: str) -> list[str]:
        """The ids of the Airflow tasks that failed, for a message."""
        raise NotImplementedError

    async def check(self) -> str:
        """Airflow's version, for readiness; the login is tried as well."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give its connections back."""
        raise NotImplementedError
