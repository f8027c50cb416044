"""What Airflow's API server answers below ``/agentic``; imported there only, and only when it is asked for.

Airflow puts no authentication before a plugin's routes: every route here states a rule of :class:`.access.Access`.
"""
