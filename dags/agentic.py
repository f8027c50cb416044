from airflow_agentic import load_workflows

load_workflows("workflows")
