"""The side of a model's container: units of a Dag run, worked through where there is no Airflow.

``python -m airflow_agentic.runtime`` is the entry point. Nothing here imports Airflow: a model image has none.
"""
