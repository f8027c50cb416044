"""Tests that share one real Airflow: a package, since its fixtures end with the last of them."""
