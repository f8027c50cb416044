"""Secrets of ``compose.yaml``, drawn once, in a file that its owner alone reads: ``python3 -m scripts.compose_env``."""

from __future__ import annotations

import base64
import os
import secrets
import sys
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).resolve().parents[1] / ".env"


def drawn() -> str:
    """The lines of the file."""
    values = {
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "API_SECRET_KEY": secrets.token_hex(32),
        "JWT_SECRET": secrets.token_hex(32),
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def write(path: Path) -> bool:
    """Write ``path``, unless it is there: a database keeps its first password."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(drawn())
    return True


if __name__ == "__main__":
    sys.stdout.write(f"{FILE} is {'written' if write(FILE) else 'there already; nothing was changed'}\n")
