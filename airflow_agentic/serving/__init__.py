"""Serving: models and workflows as services that answer requests. Never imports Airflow."""
