"""Jobs and idempotency keys, in a store that several gateways may share."""

from __future__ import annotations

from airflow_agentic.serving.jobs.base import (
    TERMINAL,
    Closed,
    Closure,
    Job,
    JobState,
    JobStore,
    Lease,
    Mode,
    NewJob,
    Submission,
)
from airflow_agentic.serving.jobs.sql import SqlJobs

__all__ = [
    "TERMINAL",
    "Closed",
    "Closure",
    "Job",
    "JobState",
    "JobStore",
    "Lease",
    "Mode",
    "NewJob",
    "SqlJobs",
    "Submission",
]
