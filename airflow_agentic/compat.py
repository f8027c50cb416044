"""What differs between Airflow 3.1, 3.2 and 3.3, in one place. Features are detected, versions never compared."""

from __future__ import annotations

try:
    from airflow.sdk import BaseBranchOperator
except ImportError:  # 3.1
    from airflow.providers.standard.operators.branch import BaseBranchOperator

from airflow.sdk.exceptions import AirflowSkipException

try:
    from airflow.sdk.exceptions import AirflowFailException
except ImportError:  # 3.1
    from airflow.exceptions import AirflowFailException

__all__ = ["AirflowFailException", "AirflowSkipException", "BaseBranchOperator"]
