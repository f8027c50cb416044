"""What an Airflow task raises to wait in the triggerer, of each Airflow."""

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # 3.1
    from airflow.exceptions import TaskDeferred

__all__ = ["TaskDeferred"]
