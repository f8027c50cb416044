"""What differs between Airflow 3.1, 3.2 and 3.3, in one place. Features are detected, versions never compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import BaseBranchOperator, CronDataIntervalTimetable, conf
    from airflow.sdk.bases.decorator import determine_kwargs
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
else:
    try:
        from airflow.sdk import BaseBranchOperator
    except ImportError:  # 3.1
        from airflow.providers.standard.operators.branch import BaseBranchOperator
    try:
        from airflow.sdk import CronDataIntervalTimetable
    except ImportError:  # 3.1
        from airflow.timetables.interval import CronDataIntervalTimetable
    try:
        from airflow.sdk import conf
    except ImportError:  # 3.1
        from airflow.configuration import conf
    try:
        from airflow.sdk.bases.decorator import determine_kwargs
    except ImportError:  # 3.1
        from airflow.utils.operator_helpers import determine_kwargs
    try:
        from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    except ImportError:  # 3.1
        from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "BaseBranchOperator",
    "CronDataIntervalTimetable",
    "conf",
    "determine_kwargs",
]
