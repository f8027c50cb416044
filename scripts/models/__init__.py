"""Builds the example project's models into ``dags/built`` from packages that install from a registry.

``python -m scripts.models`` is what ``make models`` runs. Third-party weights and data are read from installed packages
(the extra ``examples``) or from downloaded archives, never from the repository: nothing built here is committed.
"""
