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
    return "".join(f"{name}={value}\n" for name, value in _values().items())


def _values() -> dict[str, str]:
    return {
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "API_SECRET_KEY": secrets.token_hex(32),
        "JWT_SECRET": secrets.token_hex(32),
        "GATEWAY_TOKEN": f"agentic_{secrets.token_urlsafe(32)}",
    }


def write(path: Path) -> bool:
    """Write what ``path`` has not, and whether there was anything: a database keeps its first password."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "r+", encoding="utf-8") as file:
        before = file.read()
        there = {line.partition("=")[0] for line in before.splitlines()}
        missing = [line for line in drawn().splitlines() if line.partition("=")[0] not in there]
        if missing and before and not before.endswith("\n"):
            file.write("\n")
        file.writelines(f"{line}\n" for line in missing)
    return bool(missing)


if __name__ == "__main__":
    sys.stdout.write(f"{FILE} is {'written' if write(FILE) else 'there already; nothing was changed'}\n")
