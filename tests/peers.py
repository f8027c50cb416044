"""Other projects that a test needs, each in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from services import require

from scripts.peers import PeerError, python_with


def peer(*requirements: str) -> Path:
    """The Python that has ``requirements``; where they cannot be installed, :func:`services.require` says so."""
    try:
        return python_with(*requirements)
    except PeerError as error:
        require(None, str(error))
        raise
