"""Which rows go to which models, and why: conditions, eligibility, policies, decisions. Never imports Airflow."""
