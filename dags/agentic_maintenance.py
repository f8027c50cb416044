"""The maintenance Dag, without a schedule: give it one, as ``maintenance_dag(schedule="@daily")``."""

from airflow_agentic import maintenance_dag

dag = maintenance_dag()
