"""The Open Inference Protocol v2: what its servers and its clients share. Never imports Airflow or a web framework."""
