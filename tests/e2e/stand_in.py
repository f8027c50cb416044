"""``airflow_agentic.runtime`` of an image that has no model: it fulfils the container contract, and that is all."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from pathlib import Path


def warm(card: Path, path: str) -> None:
    """Answer whoever connects with the card's text, until SIGTERM."""
    text = card.read_bytes()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sys.stderr.write('{"level": "info", "logger": "stand_in", "event": "loaded"}\n')
        while True:
            asking, _ = listener.accept()
            with asking:
                asking.sendall(text)


def ready(path: str) -> None:
    """Show what the warm process answers; fail if there is none."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(path)
        except OSError as error:
            sys.exit(f"not ready: {error}")
        sys.stdout.buffer.write(asking.makefile("rb").read())


def fetch(store: str, digest: str) -> None:
    """Pretend."""
    folder = Path("/models") / digest
    folder.mkdir()
    (folder / "model.bin").write_text(store)


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("warm")
    command.add_argument("--card", type=Path, required=True)
    command.add_argument("--socket", required=True)
    command.add_argument("--allow", action="append")
    command = commands.add_parser("ready")
    command.add_argument("--socket", required=True)
    command = commands.add_parser("fetch")
    command.add_argument("--store", required=True)
    command.add_argument("--sha256", required=True)
    options = parser.parse_args()
    if options.command == "warm":
        warm(options.card, options.socket)
    elif options.command == "ready":
        ready(options.socket)
    else:
        fetch(options.store, options.sha256)


if __name__ == "__main__":
    main()
