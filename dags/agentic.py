"""The Dags of ``workflows/``. (Airflow reads only files that contain the words "airflow" and "dag".)"""

from airflow_agentic import load_workflows

load_workflows("workflows")
