"""Plan → Airflow Dag. Imports Airflow; nothing of the core imports it."""
