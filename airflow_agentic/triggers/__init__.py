"""What Airflow's triggerer waits for: ids and readiness, never records."""
