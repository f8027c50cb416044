"""What answers over HTTP: model servers and the gateway. Never imports Airflow."""
