"""Who may ask, for which workflows, and how much."""

from __future__ import annotations

from airflow_agentic.serving.access.base import ANYBODY, Authenticator, Client, Quota, bearer
from airflow_agentic.serving.access.binding import addresses
from airflow_agentic.serving.access.jwt import JwtAuthenticator, JwtRules
from airflow_agentic.serving.access.quotas import Quotas
from airflow_agentic.serving.access.tokens import NewToken, TokenFile, new_token

__all__ = [
    "ANYBODY",
    "Authenticator",
    "Client",
    "JwtAuthenticator",
    "JwtRules",
    "NewToken",
    "Quota",
    "Quotas",
    "TokenFile",
    "addresses",
    "bearer",
    "new_token",
]
