"""Answering over the network: the model server, the gateway, and what the gateway keeps. Never imports Airflow."""
